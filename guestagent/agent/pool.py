# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of worker threads: started on demand, gone again when idle.

An idle agent has no worker.  ``size`` threads run, ``backlog`` more items wait; what
does not fit is refused at once, so that nobody waits without an answer.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

LOG = logging.getLogger(__name__)

Work = tuple[Callable[[Any], None], Any]


class Pool:
    """Runs functions of one argument on at most ``size`` threads.

    :meth:`submit` and :attr:`has_room` belong to one thread (the loop's).
    """

    def __init__(self, size: int, backlog: int, idle_seconds: float = 20.0) -> None:
        self._size = size
        self._capacity = size + backlog
        self._idle_seconds = idle_seconds
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
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

    def submit(
        self, function: Callable[[Any], None], argument: Any, reserve: bool = False
    ) -> bool:
        """Have ``function(argument)`` run on a worker; return whether it was taken.

        :param reserve: take it even when full, on one thread more if need be: for
            what ends other work, which must not wait for that work to end.
        """
        with self._lock:
            if self._outstanding >= self._capacity and not reserve:
                return False
            self._outstanding += 1
            limit = self._size + (1 if reserve else 0)
            start = self._threads < min(self._outstanding, limit)
            if start:
                self._threads += 1
            # Under the lock, or a worker that is about to end would not see it.
            self._queue.put((function, argument))
        if start:
            threading.Thread(target=self._work, name='worker', daemon=True).start()
        return True

    def _work(self) -> None:
        """Take work until there is none for a while."""
        while True:
            try:
                function, argument = self._queue.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            try:
                function(argument)
            except Exception:
                LOG.exception('%r failed on a worker', function)
            # Or they would be held, with their payload, until the next item comes.
            del function, argument
            with self._lock:
                self._outstanding -= 1
