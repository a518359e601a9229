# SPDX-License-Identifier: Apache-2.0
"""Group commit: one sync of the disk serves all who wait for one.

There is no thread for it.  Who has to wait and finds nobody at it has the *turn* and
syncs; who comes meanwhile waits, and the first of those gets the turn next and syncs
for all of them.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator

from guestagent import errors

#: How many failures are remembered for those who have not heard of them yet.
_FAILURES = 64


class _Waiter:
    """One who waits: for a sync, or for the turn.

    :ivar ticket: 0: only the turn will do.
    :ivar wake: held until there is news.
    :ivar has_turn: the news is that it is its turn.
    :ivar error: the news is that the sync has failed.
    """

    __slots__ = ('error', 'has_turn', 'ticket', 'wake')

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.has_turn = False
        self.error: errors.StorageError | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Commits:
    """Counts what was appended, and how far it is known to be on the disk.

    :param lock: under which things are appended.
    :param sync: has the disk hold all that was appended before the call.
    """

    def __init__(self, lock: threading.Lock, sync: Callable[[], None]) -> None:
        self._lock = lock
        self._sync = sync
        self._appended = self._settled = 0
        self._busy = False
        self._waiting: collections.deque[_Waiter] = collections.deque()
        self._failures: collections.deque[tuple[int, int, errors.StorageError]]
        self._failures = collections.deque(maxlen=_FAILURES)

    def ticket(self) -> int:
        """Return what :meth:`wait` takes for what was just appended; in the lock."""
        self._appended += 1
        return self._appended

    def wait(self, ticket: int) -> None:
        """Return when the disk holds what the ticket was given for.

        :raises guestagent.errors.StorageError: it may not hold it.
        """
        with self._lock:
            if ticket <= self._settled:
                self._raise_failure(ticket)
                return
            waiter = self._queue(ticket)
        if waiter is not None:
            waiter.wake.acquire()
            if waiter.error is not None:
                raise waiter.error
            if not waiter.has_turn:
                return
        self._commit()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Let nobody sync meanwhile."""
        with self._lock:
            waiter = self._queue(0)
        if waiter is not None:
            waiter.wake.acquire()
        try:
            yield
        finally:
            with self._lock:
                woken = self._hand_on()
            _wake(woken)

    def _queue(self, ticket: int) -> _Waiter | None:
        """Take the turn, or return what says when there is news; in the lock."""
        if not self._busy:
            self._busy = True
            return None
        waiter = _Waiter(ticket)
        self._waiting.append(waiter)
        return waiter

    def _commit(self) -> None:
        """Sync for all; the turn is ours."""
        with self._lock:
            upto = self._appended
        error = None
        try:
            self._sync()
        except errors.StorageError as caught:
            error = caught
        with self._lock:
            if error is not None:
                # What was appended since is lost with it: the file is not used now.
                upto = self._appended
                self._failures.append((self._settled, upto, error))
            self._settled = upto
            served = [one for one in self._waiting if 0 < one.ticket <= upto]
            if served:
                rest = [one for one in self._waiting if not 0 < one.ticket <= upto]
                self._waiting = collections.deque(rest)
            for one in served:
                one.error = error
            served += self._hand_on()
        _wake(served)
        if error is not None:
            raise error

    def _hand_on(self) -> list[_Waiter]:
        """Give the turn to the next, to be woken; in the lock."""
        if not self._waiting:
            self._busy = False
            return []
        following = self._waiting.popleft()
        following.has_turn = True
        return [following]

    def _raise_failure(self, ticket: int) -> None:
        for before, upto, error in self._failures:
            if before < ticket <= upto:
                raise error


def _wake(waiters: list[_Waiter]) -> None:
    for waiter in waiters:
        waiter.wake.release()
