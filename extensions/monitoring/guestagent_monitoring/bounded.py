# SPDX-License-Identifier: Apache-2.0
"""Asks what may never answer, and waits for it a bounded time only.

The questions are asked one after another on a thread.  What is not answered in time is
not asked again until it is, so that it costs one thread, however often it is wanted;
the questions after it are asked on another thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

LOG = logging.getLogger(__name__)

Answer = TypeVar('Answer')


class Asker(Generic[Answer]):
    """Asks one function about many things.

    :param function: raises OSError where it cannot tell.
    :param seconds: how long it is waited for one that does not answer.
    """

    def __init__(self, function: Callable[[str], Answer], seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._stuck: dict[str, threading.Thread] = {}

    def ask(self, things: Iterable[str]) -> dict[str, Answer]:
        """Return the answers; things that fail or hang have none."""
        answers: dict[str, Answer] = {}
        waiting = [thing for thing in things if not self._is_stuck(thing)]
        while waiting:
            count = self._ask_in_order(waiting, answers)
            if count < len(waiting):
                LOG.warning('%s does not answer: it is left out', waiting[count])
            waiting = waiting[count + 1 :]
        return answers

    def _ask_in_order(self, things: Sequence[str], answers: dict[str, Answer]) -> int:
        """Take answers until one is late; return how many were in time."""
        told: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        late = threading.Event()

        def run() -> None:
            for thing in things:
                if late.is_set():
                    return
                try:
                    told.put(self._function(thing))
                except OSError:
                    told.put(None)  # gone meanwhile, or hidden from us

        thread = threading.Thread(target=run, name='monitoring-ask', daemon=True)
        thread.start()
        for count, thing in enumerate(things):
            try:
                answer = told.get(timeout=self._seconds)
            except queue.Empty:
                late.set()
                self._stuck[thing] = thread
                return count
            if answer is not None:
                answers[thing] = answer
        return len(things)

    def _is_stuck(self, thing: str) -> bool:
        thread = self._stuck.get(thing)
        return thread is not None and thread.is_alive()
