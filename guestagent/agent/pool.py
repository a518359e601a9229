# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of worker threads: started on demand, gone again when idle.

An idle agent has no worker.  ``size`` threads run, ``backlog`` more items wait; what
does not fit is refused at once, so that nobody waits without an answer.
"""

import collections
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

LOG = logging.getLogger(__name__)

#: A function, its argument, and whether its end frees a place.
Work = tuple[Callable[[Any], None], Any, bool]


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
    other is woken before it has begun: so one that does several short items spares the
    others being woken, and those that are not needed end.

    :meth:`submit`, :meth:`enter` and :attr:`has_room` belong to one thread (the
    loop's).
    """

    def __init__(self, size: int, backlog: int, idle_seconds: float = 20.0) -> None:
        self.size = size
        self._busy: dict[int, Busy] = {}
        self._capacity = size + backlog
        self._idle_seconds = idle_seconds
        self._waiting: collections.deque[Work] = collections.deque()
        self._idle: list[_Idle] = []
        # Whether a worker was woken, or started, that has not begun yet.
        self._rousing = False
        self._lock = threading.Lock()
        self._threads = 0
        self._outstanding = 0

    @property
    def has_room(self) -> bool:
        """Whether the next :meth:`submit` will be taken."""
        return self._outstanding < self._capacity

    @property
    def outstanding(self) -> int:
        """How many places are taken."""
        return self._outstanding

    @property
    def free(self) -> int:
        """How many workers have nothing to do, or are not started yet."""
        with self._lock:
            idle = self.size - self._threads + len(self._idle)
            return max(0, idle - len(self._waiting))

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
            target=self._do, args=(function, argument, True), name='urgent', daemon=True
        ).start()

    def submit(
        self, function: Callable[[Any], None], argument: Any, reserve: bool = False
    ) -> bool:
        """Have ``function(argument)`` run on a worker; return whether it was taken.

        :param reserve: take it even when full.
        """
        if not self.enter(reserve):
            return False
        self.run(function, argument, leaves=True)
        return True

    def enter(self, reserve: bool = False) -> bool:
        """Take a place for what :meth:`run` is given later; return whether one is free.

        :param reserve: take one even when full.
        """
        with self._lock:
            if self._outstanding >= self._capacity and not reserve:
                return False
            self._outstanding += 1
            return True

    def leave(self, count: int = 1) -> None:
        """Give places back; from any thread."""
        with self._lock:
            self._outstanding -= count

    def run(
        self,
        function: Callable[[Any], None],
        argument: Any,
        leaves: bool = False,
        follows: bool = False,
    ) -> None:
        """Have ``function(argument)`` run on a worker; from any thread.

        :param leaves: give the place back that it has, when it has ended.
        :param follows: the worker that calls this will do it, if no other is free
            before.
        """
        with self._lock:
            if follows:
                self._waiting.appendleft((function, argument, leaves))
                return
            self._waiting.append((function, argument, leaves))
            rouse = self._rouse()
        if rouse is not None:
            rouse()

    def _rouse(self) -> Callable[[], None] | None:
        """Give the next item to one more worker, if one should; in the lock.

        :returns: what wakes or starts it.
        """
        if self._rousing or not self._waiting:
            return None
        if self._idle:
            self._rousing = True
            idle = self._idle.pop()
            idle.work = self._waiting.popleft()
            return idle.given.release
        if self._threads < self.size:
            self._rousing = True
            self._threads += 1
            return functools.partial(self._start, self._waiting.popleft())
        return None

    def _start(self, work: Work) -> None:
        try:
            threading.Thread(
                target=self._work, args=(work,), name='worker', daemon=True
            ).start()
        except RuntimeError as error:
            LOG.error('no worker can be started: %s', error)
            with self._lock:
                self._threads -= 1
                self._rousing = False
                self._waiting.appendleft(work)

    def _work(self, work: Work | None) -> None:
        """Do this, and what comes, until there is none for a while."""
        idle = _Idle()
        roused = True
        while work is not None:
            if roused:
                self._note_roused()
            self._do(*work)
            # Or it would be held, with its payload, until the next item comes.
            work = None
            with self._lock:
                roused = not self._waiting
                if roused:
                    self._idle.append(idle)
                else:
                    work = self._waiting.popleft()
            if roused:
                work = self._wait(idle)

    def _note_roused(self) -> None:
        """Let one more worker be woken, now that this one begins."""
        with self._lock:
            self._rousing = False
            rouse = self._rouse()
        if rouse is not None:
            rouse()

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

    def _do(self, function: Callable[[Any], None], argument: Any, leaves: bool) -> None:
        thread = threading.get_ident()
        self._busy[thread] = Busy(argument, time.monotonic())
        try:
            function(argument)
        except Exception:
            LOG.exception('%r failed on a worker', function)
        del self._busy[thread]
        if leaves:
            self.leave()
