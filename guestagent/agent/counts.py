# SPDX-License-Identifier: Apache-2.0
"""What became of the requests, in plain numbers that cost a request nothing."""

from __future__ import annotations

import threading

#: How a request may end, besides the states of :mod:`guestagent.agent.request`.
EXPIRED = 'expired'
REPEATED = 'repeated'


class Counts:
    """Counts from any thread.

    :ivar ended: how many requests ended so, by outcome.
    :ivar refused: how many were refused, by the name of the error.
    """

    def __init__(self) -> None:
        self.ended: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self._lock = threading.Lock()

    def end(self, outcome: str) -> None:
        """Count a request that was answered, or that nobody waits for any more."""
        with self._lock:
            self.ended[outcome] = self.ended.get(outcome, 0) + 1

    def refuse(self, error: BaseException) -> None:
        """Count a request that did not run."""
        name = type(error).__name__
        with self._lock:
            self.refused[name] = self.refused.get(name, 0) + 1
