# SPDX-License-Identifier: Apache-2.0
"""For how long it is known how a program has ended, and what it wrote."""

from tests.unit.extensions.exec import bed


def gone(here, handle):
    """Wait for the end of a program as nobody does who wants to know of it."""
    bed.wait_for(
        lambda: (
            not next(one['running'] for one in here.list() if one['handle'] == handle)
        )
    )


def test_what_is_known_keeps_its_process_whether_somebody_has_read_it_or_not(guest):
    here = guest()
    signalled = here.spawn(argv=['sleep', str(bed.LONG)])['handle']
    here.signal(signalled, 'KILL')
    gone(here, signalled)
    read = here.spawn(argv=['echo', 'x'])['handle']
    here.end(read)
    assert here.text(read) == b'x\n'

    here.forget(read)
    assert here.made.busy()
    assert here.status(signalled)['signal_name'] == 'SIGKILL'
    # The answer may not have arrived.
    assert here.made.busy()

    here.forget(signalled)
    assert not here.made.busy()


def test_nothing_is_kept_for_longer_than_it_is_retained(guest):
    here = guest(retain=0.1)
    here.spawn(argv=['echo', 'x'])

    bed.wait_for(lambda: not here.made.busy())

    assert here.list() == []


def test_who_was_only_signalled_or_listed_is_kept_before_who_was_read(guest):
    here = guest(max_retained=2)
    signalled, told = (
        here.spawn(argv=['sleep', str(bed.LONG)])['handle'] for _ in range(2)
    )
    for handle in (signalled, told):
        here.signal(handle, 'KILL')
        gone(here, handle)
    here.status(told)

    last = here.spawn(argv=['true'])['handle']
    here.end(last)
    here.spawn(argv=['true'])

    known = {one['handle'] for one in here.list()}
    assert {signalled, last} < known
    assert told not in known
