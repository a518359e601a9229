# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of worker threads: started on demand, gone again when idle.

An idle agent has no worker.  ``size`` threads run, ``backlog`` more items wait; what
does not fit is refused at once, so that nobody waits without an answer.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

LOG = logging.getLogger(__name__)

Work = tuple[Callable[[Any], None], Any]


class Busy(NamedTuple):
    """What a worker is at.

    :ivar argument: what its function was given.
    :ivar since: the :func:`time.monotonic` value.
    """

    argument: Any
    since: float


class _Idle:
    """A worker that waits for what :meth:`Pool.submit` gives it."""

    __slots__ = ('given', 'work')

    def __init__(self) -> None:
        self.work: Work | None = None
        self.given = threading.Lock()
        self.given.acquire()


class Pool:
    """Runs functions of one argument on at most ``size`` threads.

    Of the workers that are idle the one that became so last gets the next item, and no
    other is woken: so those that are not needed end.

    :meth:`submit` and :attr:`has_room` belong to one thread (the loop's).
    """

    def __init__(self, size: int, backlog: int, idle_seconds: float = 20.0) -> None:
        self.size = size
        self._busy: dict[int, Busy] = {}
        self._capacity = size + backlog
        self._idle_seconds = idle_seconds
        self._waiting: collections.deque[Work] = collections.deque()
        self._idle: list[_Idle] = []
        self._lock = threading.Lock()
        self._threads = 0
        self._outstanding = 0

    @property
    def has_room(self) -> bool:
        """Whether the next :meth:`submit` will be taken."""
        return self._outstanding < self._capacity

    @property
    def outstanding(self) -> int:
        """How many items run or wait."""
        return self._outstanding

    def busy(self) -> dict[int, Busy]:
        """Return what the workers are at, by the ids of their threads."""
        return dict(self._busy)

    def urge(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have it run now, on a thread of its own: for what ends other work.

        A worker may be free only when that has ended.
        """
        with self._lock:
            self._outstanding += 1
        threading.Thread(
            target=self._do, args=(function, argument), name='urgent', daemon=True
        ).start()

    def submit(
        self, function: Callable[[Any], None], argument: Any, reserve: bool = False
    ) -> bool:
        """Have ``function(argument)`` run on a worker; return whether it was taken.

        :param reserve: take it even when full.
        """
        with self._lock:
            if self._outstanding >= self._capacity and not reserve:
                return False
            self._outstanding += 1
            if self._idle:
                idle = self._idle.pop()
                idle.work = function, argument
                idle.given.release()
                return True
            if self._threads >= self.size:
                self._waiting.append((function, argument))
                return True
            self._threads += 1
        work = function, argument
        threading.Thread(
            target=self._work, args=(work,), name='worker', daemon=True
        ).start()
        return True

    def _work(self, work: Work | None) -> None:
        """Do this, and what comes, until there is none for a while."""
        idle = _Idle()
        while work is not None:
            self._do(*work)
            # Or it would be held, with its payload, until the next item comes.
            work = None
            with self._lock:
                if self._waiting:
                    work = self._waiting.popleft()
                    continue
                self._idle.append(idle)
            work = self._wait(idle)

    def _wait(self, idle: _Idle) -> Work | None:
        """Return what was given within a while; ``None``: nothing, and it ends."""
        if not idle.given.acquire(timeout=self._idle_seconds):
            with self._lock:
                if idle in self._idle:
                    self._idle.remove(idle)
                    self._threads -= 1
                    return None
            idle.given.acquire()
        work, idle.work = idle.work, None
        return work

    def _do(self, function: Callable[[Any], None], argument: Any) -> None:
        thread = threading.get_ident()
        self._busy[thread] = Busy(argument, time.monotonic())
        try:
            function(argument)
        except Exception:
            LOG.exception('%r failed on a worker', function)
        del self._busy[thread]
        with self._lock:
            self._outstanding -= 1
