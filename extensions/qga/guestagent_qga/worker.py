# SPDX-License-Identifier: Apache-2.0
"""A thread for what takes time, there only while it is needed."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

#: Seconds after which a thread that has nothing to do ends.
IDLE_SECONDS = 20.0


class Worker:
    """Calls functions one after the other, each at once if none is before it."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._changed = threading.Condition()
        self._alive = False

    def submit(self, function: Callable[[], None]) -> None:
        """Have it called; it raises nothing."""
        with self._changed:
            self._waiting.append(function)
            self._changed.notify()
            if self._alive:
                return
            self._alive = True
        threading.Thread(target=self._run, name='qga', daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS):
                    self._alive = False
                    return
                function = self._waiting.popleft()
            function()
            # What it holds, an answer of 64 MiB maybe, must not wait for the next.
            del function
