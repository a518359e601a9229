# SPDX-License-Identifier: Apache-2.0
"""Know at once when a process ends, whoever has started it; no polling."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)

#: Seconds that the thread gets to return.
STOP_SECONDS = 2.0


class Watch:
    """Sleeps until a process ends, on a thread of its own that is there meanwhile.

    :param ended: called with the process's id on that thread; what it raises is logged.
    """

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._pid = 0
        self._wake: int | None = None
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """What is watched; 0: nothing."""
        return self._pid

    def watch(self, pid: int) -> None:
        """Watch this process and no other any more; 0: none."""
        with self._lock:
            if pid == self._pid:
                return
            self._forget()
            if not pid:
                return
            try:
                process = os.pidfd_open(pid)
            except OSError:
                return  # it has ended: who asks for its state will see
            self._pid, self._wake = pid, os.eventfd(0, os.EFD_CLOEXEC)
            self._thread = threading.Thread(
                target=self._run,
                args=(pid, process, self._wake),
                name='datastore-watch',
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Watch nothing any more, and wait for the thread."""
        thread = self._thread
        self.watch(0)
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def _forget(self) -> None:
        if self._wake is not None:
            os.eventfd_write(self._wake, 1)
        self._pid, self._wake, self._thread = 0, None, None

    def _run(self, pid: int, process: int, wake: int) -> None:
        """Sleep until the process ends or nobody wants to know any more."""
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(wake, select.POLLIN)
        noticed = {fd for fd, _events in poll.poll()}
        with self._lock:
            told = wake not in noticed and self._wake == wake
            if self._wake == wake:
                self._pid, self._wake, self._thread = 0, None, None
            os.close(process)
            os.close(wake)
        if not told:
            return
        try:
            self._ended(pid)
        except Exception:
            LOG.exception('what follows the end of the server failed')
