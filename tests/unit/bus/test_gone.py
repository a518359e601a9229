# SPDX-License-Identifier: Apache-2.0
"""Reply queues that have lost their reader."""

from guestagent.bus import gone


def test_a_queue_is_gone_for_two_seconds_after_the_last_reply_that_came_back():
    now = [0.0]
    queues = gone.Gone(lambda: now[0])
    assert 'reply_a' not in queues

    queues.add('reply_a')
    now[0] = 1.5
    queues.add('reply_a')
    now[0] = 3.4
    assert 'reply_a' in queues
    now[0] = 3.5
    assert 'reply_a' not in queues


def test_who_reads_again_is_not_gone():
    queues = gone.Gone()
    queues.discard('reply_a')
    queues.add('reply_a')
    queues.discard('reply_a')
    assert 'reply_a' not in queues


def test_only_the_newest_are_remembered():
    queues = gone.Gone()
    for number in range(gone.LENGTH + 1):
        queues.add(f'reply_{number}')
        queues.add('reply_1')
    assert 'reply_0' not in queues
    assert 'reply_1' in queues
    assert f'reply_{gone.LENGTH}' in queues
