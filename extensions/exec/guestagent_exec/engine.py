# SPDX-License-Identifier: Apache-2.0
"""The one thread that looks after all programs: what they write, want and come to.

It starts with the first program and ends when none is left to look after.
"""

from __future__ import annotations

import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guestagent import errors

if TYPE_CHECKING:
    from guestagent_exec import run as runs

LOG = logging.getLogger(__name__)

#: The longest wait, in seconds: the kernel counts milliseconds, up to 24 days.
_PATIENCE_MAX = 86400.0

READ, WRITE = select.EPOLLIN, select.EPOLLOUT

#: What is called, on the thread, when a descriptor is ready.
Handler = Callable[[], None]


class Engine:
    """Waits for descriptors and times of runs; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[runs.Run] = set()
        self._watched: dict[int, tuple[runs.Run, Handler]] = {}
        self._epoll: select.epoll | None = None
        self._wake = -1

    def enter(self, run: runs.Run) -> None:
        """Look after a run from now on, until it says that it is over.

        :raises guestagent.errors.GuestError: the guest is short of what it takes.
        """
        with self._lock:
            if self._epoll is None:
                self._begin()
            self._runs.add(run)

    def current(self) -> list[runs.Run]:
        """Return those that are looked after."""
        with self._lock:
            return list(self._runs)

    def leave(self, run: runs.Run) -> None:
        """Look after it no longer; its descriptors must not be watched any more."""
        with self._lock:
            self._runs.discard(run)
        self.wake()

    def watch(self, run: runs.Run, fd: int, events: int, handler: Handler) -> None:
        """Have ``handler`` called whenever the descriptor of a run is ready.

        :raises OSError: the guest is short of what it takes.
        """
        self._watched[fd] = run, handler
        assert self._epoll is not None  # the run has entered
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Watch it no longer; call this before it is closed."""
        if self._watched.pop(fd, None) is not None:
            assert self._epoll is not None
            self._epoll.unregister(fd)

    def wake(self) -> None:
        """Have the times of all runs looked at anew."""
        with self._lock:
            if self._epoll is not None:
                os.eventfd_write(self._wake, 1)

    def _begin(self) -> None:
        """Start the thread; in the lock."""
        try:
            wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            try:
                epoll = select.epoll()
                epoll.register(wake, READ)
                self._epoll, self._wake = epoll, wake
                threading.Thread(
                    target=self._serve, args=(epoll, wake), name='exec', daemon=True
                ).start()
            except (OSError, RuntimeError):
                self._epoll = None
                os.close(wake)
                raise
        except (OSError, RuntimeError) as error:
            raise errors.GuestError(f'nothing can be started: {error}') from None

    def _serve(self, epoll: select.epoll, wake: int) -> None:
        """Serve until no run is left; the thread."""
        touched: set[runs.Run] = set()
        while True:
            with self._lock:
                current = list(self._runs)
                if not current:
                    self._epoll = None
                    epoll.close()
                    os.close(wake)
                    return
            for fd, _events in epoll.poll(self._patience(current)):
                if fd == wake:
                    os.eventfd_read(wake)
                    continue
                run, handler = self._watched.get(fd, (None, None))
                if run is not None and handler is not None:
                    touched.add(run)
                    _guarded(run, handler)
            now = time.monotonic()
            touched.update(run for run in current if run.due() <= now)
            for run in touched:
                _guarded(run, run.step)
            touched.clear()

    def _patience(self, current: list[runs.Run]) -> float | None:
        """Return the seconds until something is due, ``None``: nothing ever is."""
        due = min(run.due() for run in current)
        if due == math.inf:
            return None
        # Rounded up, or the last millisecond would be spun away.
        return min(max(0.0, due - time.monotonic()) + 0.001, _PATIENCE_MAX)


def _guarded(run: runs.Run, handler: Handler) -> None:
    """Do a run's work; what goes wrong is its end, and not that of the thread."""
    try:
        handler()
    except errors.GuestAgentError as error:
        run.fail(error)
    except Exception as error:
        LOG.exception('looking after process %s failed', run.pid)
        run.fail(errors.GuestError(f'the agent cannot look after it: {error!r}'))
