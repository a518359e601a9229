# SPDX-License-Identifier: Apache-2.0
"""Threads for what takes time, there only while they are needed."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

#: Seconds after which a thread that has nothing to do ends.
IDLE_SECONDS = 20.0


class Workers:
    """Calls functions, each at once, on a thread that is idle or on a new one.

    Each client has one that runs at most, so there are no more threads than clients.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._changed = threading.Condition()
        self._idle = 0

    def submit(self, function: Callable[[], None]) -> None:
        """Have it called; it raises nothing."""
        with self._changed:
            self._waiting.append(function)
            if self._idle >= len(self._waiting):
                self._changed.notify()
                return
        threading.Thread(target=self._run, name='qga', daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                found = self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS)
                self._idle -= 1
                if not found:
                    return
                function = self._waiting.popleft()
            function()
            # What it holds, an answer of 64 MiB maybe, must not wait for the next.
            del function
