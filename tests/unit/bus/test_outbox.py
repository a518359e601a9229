# SPDX-License-Identifier: Apache-2.0
"""What waits and what is on its way, within bounds."""

import pytest

from guestagent.bus import base, outbox

CONFIRMED, REJECTED = base.Sent.CONFIRMED, base.Sent.REJECTED


def reply(body='x', queue='reply_1'):
    return outbox.Reply(queue, body, None)


def report(body='x'):
    return outbox.Report('reports', 'key', body, lambda sent: None)


@pytest.fixture
def box():
    """A window of 10 bytes; 5 replies or 100 bytes wait."""
    return outbox.Outbox(window=10, waiting_count=5, waiting_bytes=100)


def send(box, first=1):
    """Send what may be sent; return it."""
    sent = []
    while (message := box.take()) is not None:
        box.sent(first + len(sent), message)
        sent.append(message)
    return sent


def test_replies_are_sent_in_order_until_the_window_is_full(box):
    replies = [reply('xxxx') for _ in range(5)]
    for one in replies:
        box.put(one)

    assert send(box) == replies[:3]
    assert box.settle(1, False, True) == [(replies[0], CONFIRMED)]
    assert send(box, 4) == replies[3:4]
    assert box.settle(4, True, True) == [(one, CONFIRMED) for one in replies[1:4]]
    assert send(box, 5) == replies[4:]


def test_a_reply_above_the_window_goes_alone(box):
    large, small = reply('x' * 50), reply()
    box.put(large)
    box.put(small)

    assert send(box) == [large]
    box.settle(1, False, True)
    assert send(box, 2) == [small]


def test_reports_do_not_wait_for_the_window(box):
    for tag in range(1, 4):
        box.sent(tag, report('x' * 8))

    assert [sent for _, sent in box.settle(3, True, False)] == [REJECTED] * 3
    box.put(reply())
    assert len(send(box, 4)) == 1


def test_what_came_back_was_returned_whatever_the_confirm_says(box):
    box.put(reply())
    box.put(reply())
    first, second = send(box)

    box.returned(2)

    assert box.settle(2, True, True) == [
        (first, CONFIRMED),
        (second, base.Sent.RETURNED),
    ]


def test_a_confirm_of_what_is_not_on_its_way_says_nothing(box):
    assert box.settle(7, False, True) == []
    assert box.settle(7, True, True) == []


def test_what_was_lost_waits_again_before_the_others(box):
    replies = [reply('xxxxx', f'reply_{n}') for n in range(4)]
    for one in replies:
        box.put(one)
    own = report()
    assert send(box) == replies[:2]
    box.sent(3, own)
    box.returned(1)

    assert box.lost() == ([own], [])

    # The tags of a new channel begin anew.
    assert send(box) == replies[:2]
    assert box.settle(1, False, True) == [(replies[0], CONFIRMED)]


def test_of_too_many_the_oldest_is_given_up(box):
    replies = [reply() for _ in range(7)]

    given_up = [gone for one in replies for gone in box.put(one)]

    assert given_up == replies[:2]
    box.settle(1, True, True)
    assert send(box) == replies[2:]


def test_of_too_many_bytes_the_oldest_is_given_up(box):
    box.put(reply('x' * 60))
    assert len(box.put(reply('x' * 60))) == 1
    # One may always wait, and those before it go.
    assert len(box.put(reply('x' * 500))) == 1
    assert [len(message.body) for message in send(box)] == [500]


def test_what_is_lost_is_bounded_too():
    box = outbox.Outbox(window=100, waiting_count=2, waiting_bytes=100)
    sent = []
    for _ in range(3):
        box.put(reply())
        sent += send(box, len(sent) + 1)

    assert box.lost() == ([], sent[:1])
