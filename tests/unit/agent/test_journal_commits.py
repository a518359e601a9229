# SPDX-License-Identifier: Apache-2.0
import threading
import time

import pytest

from guestagent import errors
from guestagent.agent.journal import commits


class Bed:
    """Things that are appended, and a sync that waits until it may end."""

    def __init__(self):
        self.lock = threading.Lock()
        self.syncs = 0
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.error = None
        self.commits = commits.Commits(self.lock, self.sync)

    def sync(self):
        self.syncs += 1
        self.begun.release()
        assert self.may_end.acquire(timeout=20)
        if self.error is not None:
            raise self.error

    def append(self):
        with self.lock:
            return self.commits.ticket()

    def start(self, ticket):
        """Wait for a ticket on a thread; return it and what it was told."""
        told = []

        def wait():
            try:
                self.commits.wait(ticket)
            except errors.StorageError as error:
                told.append(error)
            else:
                told.append('synced')

        thread = threading.Thread(target=wait)
        thread.start()
        return thread, told

    def wait_until_waiting(self, count):
        until = time.monotonic() + 20
        while len(self.commits._waiting) < count:
            assert time.monotonic() < until
            time.sleep(0.001)


@pytest.fixture
def bed():
    return Bed()


def test_one_sync_serves_all_who_came_before_it_began(bed):
    first = bed.start(bed.append())
    bed.begun.acquire()
    late = [bed.start(bed.append()) for _ in range(5)]
    bed.wait_until_waiting(5)
    bed.may_end.release()
    bed.may_end.release()

    for thread, told in [first, *late]:
        thread.join(20)
        assert told == ['synced']
    assert bed.syncs == 2


def test_what_a_sync_has_covered_needs_none(bed):
    tickets = [bed.append(), bed.append()]
    bed.may_end.release()

    for ticket in reversed(tickets):
        bed.commits.wait(ticket)

    assert bed.syncs == 1


def test_a_failure_is_told_to_all_whom_it_concerns_and_to_no_other(bed):
    thread, told = bed.start(bed.append())
    bed.begun.acquire()
    waiting = bed.start(bed.append())
    bed.wait_until_waiting(1)
    not_waiting_yet = bed.append()
    bed.error = errors.StorageError('the disk is gone')
    bed.may_end.release()
    for one, what in ((thread, told), waiting):
        one.join(20)
        assert what == [bed.error]
    with pytest.raises(errors.StorageError):
        bed.commits.wait(not_waiting_yet)

    bed.error = None
    bed.may_end.release()
    bed.commits.wait(bed.append())

    with pytest.raises(errors.StorageError):
        bed.commits.wait(not_waiting_yet)
    assert bed.syncs == 2


def test_nobody_syncs_in_a_pause(bed):
    with bed.commits.pause():
        thread, told = bed.start(bed.append())
        bed.wait_until_waiting(1)
        assert bed.syncs == 0
    bed.may_end.release()
    thread.join(20)

    assert told == ['synced']


def test_a_pause_waits_for_a_sync_and_is_followed_by_the_next(bed):
    first, _ = bed.start(bed.append())
    bed.begun.acquire()
    order = []

    def pause():
        with bed.commits.pause():
            order.append(bed.syncs)

    pausing = threading.Thread(target=pause)
    pausing.start()
    bed.wait_until_waiting(1)
    second, told = bed.start(bed.append())
    bed.wait_until_waiting(2)
    assert order == []
    bed.may_end.release()
    bed.may_end.release()
    for thread in (first, pausing, second):
        thread.join(20)

    assert order == [1]
    assert told == ['synced']
    assert bed.syncs == 2
