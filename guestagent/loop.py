# SPDX-License-Identifier: Apache-2.0
"""The agent's main thread: sockets, timers, and calls from other threads.

It wakes up only for what is due: an idle agent is asleep.  Everything that is
registered here is called on the thread that runs the loop and must not block.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

LOG = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

#: Seconds by which a wait must be too long to mean that we were not running.
STANDSTILL = 5.0


class Timer:
    """A call in the future; :meth:`cancel` is allowed at any time."""

    __slots__ = ('callback',)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget the call; it stays in the heap, empty, until its time."""
        self.callback = None


class Loop:
    """Waits for sockets, timers and other threads, and calls back.

    :meth:`call_soon` may be used from any thread and from signal handlers, all
    else only on the loop's own.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: collections.deque[tuple[Callable[..., None], tuple[Any, ...]]]
        self._calls = collections.deque()
        self._awake = True
        self._running = False
        #: Called before each wait, for what collects work during a round.
        self.before_wait: list[Callable[[], None]] = []
        #: Called with the seconds for which the process, or the guest, stood still,
        #: before anything that has come meanwhile is looked at.
        self.stood_still: list[Callable[[float], None]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, READ, self._drain_wakes)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call ``handler(events)`` when ``fd`` is ready; call again to change."""
        if fd in self._handlers:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``; call it before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once after ``seconds``; return what can cancel it."""
        timer = Timer(callback)
        heapq.heappush(
            self._timers, (time.monotonic() + seconds, next(self._order), timer)
        )
        return timer

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        """Call back on the loop's thread in the next round; from any thread."""
        self._calls.append((callback, args))
        if not self._awake:
            self._awake = True
            self._wake()

    def catch_signals(
        self, signals: tuple[signal.Signals, ...], callback: Callable[[int], None]
    ) -> None:
        """Call back on the loop's thread when one of ``signals`` arrives."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda got, _frame: self.call_soon(callback, got))

    @property
    def asleep(self) -> bool:
        """Whether :meth:`call_soon` would have to wake it; for any thread."""
        return not self._awake

    def stop(self) -> None:
        """Let :meth:`run` return after the present round."""
        self._running = False

    def run(self) -> None:
        """Run until :meth:`stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def run_once(self, longest: float | None = None) -> None:
        """Wait at most ``longest`` seconds for what is due, and do it."""
        for callback in self.before_wait:
            self._guard(callback)
        # From here a call from another thread must wake us; one that came before
        # is seen in the queue.
        self._awake = False
        timeout = self._timeout(longest)
        if self._calls:
            timeout = 0
        ready = self._poll_for(timeout)
        self._awake = True
        for fd, events in ready:
            handler = self._handlers.get(fd)
            if handler is not None:
                self._guard(handler, events)
        self._run_calls()
        self._run_timers()

    def close(self) -> None:
        """Close the loop's own descriptors."""
        if signal.getsignal(signal.SIGTERM) is not None:
            try:
                signal.set_wakeup_fd(-1)
            except ValueError:
                pass  # not the main thread: it never caught signals
        self._poll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _timeout(self, longest: float | None) -> float | None:
        """Return the seconds until the next timer; ``None``: for ever."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return longest
        left = max(0.0, self._timers[0][0] - time.monotonic())
        # Two calls late by a millisecond cost less than a third wake-up.
        left = left + 0.001 if left else left
        return left if longest is None else min(left, longest)

    def _poll_for(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait; notice if it took longer than it could."""
        # This clock goes on while the guest sleeps.
        begin = time.clock_gettime(time.CLOCK_BOOTTIME)
        ready = self._poll.poll(timeout)
        if timeout is not None:
            late = time.clock_gettime(time.CLOCK_BOOTTIME) - begin - timeout
            if late > STANDSTILL:
                for callback in self.stood_still:
                    self._guard(callback, late)
        return ready

    def _run_calls(self) -> None:
        """Run what other threads have asked for up to now, not what comes meanwhile."""
        for _ in range(len(self._calls)):
            callback, args = self._calls.popleft()
            self._guard(callback, *args)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._guard(callback)

    def _guard(self, callback: Callable[..., None], *args: Any) -> None:
        """Call ``callback``: what one of them raises must not end the agent."""
        try:
            callback(*args)
        except Exception:
            LOG.exception('%r failed on the main thread', callback)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b'\0')
        except BlockingIOError:
            pass  # a full pipe wakes the loop as well as one byte more

    def _drain_wakes(self, _events: int) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
