# SPDX-License-Identifier: Apache-2.0
"""Threads for calls that wait, and may wait for ever."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

LOG = logging.getLogger(__name__)


class Threads:
    """Runs calls in the order in which they were given, on threads made on demand.

    The threads are daemons, unlike those of :mod:`concurrent.futures`: a call that
    never returns does not hold up the end of the process.

    :param most: how many calls run at once.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._started = 0
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]]]
        self._calls = queue.Queue()

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Call when a thread is free; always from the same thread."""
        self._calls.put((function, args))
        if self._started < min(self._most, self._calls.unfinished_tasks):
            self._started += 1
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def wait_idle(self) -> None:
        """Wait until all that was submitted has been called and has returned."""
        self._calls.join()

    def _run(self) -> None:
        while True:
            function, args = self._calls.get()
            try:
                function(*args)
            except Exception:
                LOG.exception('%s failed', function.__qualname__)
            finally:
                del function, args  # what it was called with may be large
                self._calls.task_done()
