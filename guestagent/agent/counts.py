# SPDX-License-Identifier: Apache-2.0
"""What became of the requests, in plain numbers that cost a request nothing."""

from __future__ import annotations

import bisect
import threading

#: How a request may end, besides the states of :mod:`guestagent.agent.request`.
EXPIRED = 'expired'
REPEATED = 'repeated'


#: The upper bounds of the histogram of how long commands ran, in seconds.
BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0)


class Calls:
    """How the commands of one extension ran.

    :ivar errors: how many of the calls failed or were interrupted.
    :ivar seconds: of all, together.
    :ivar buckets: how many took as long as each of ``BOUNDS``, or longer than all.
    """

    __slots__ = ('buckets', 'calls', 'errors', 'longest', 'seconds')

    def __init__(self) -> None:
        self.calls = self.errors = 0
        self.seconds = self.longest = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, failed: bool, seconds: float) -> None:
        """Count one."""
        self.calls += 1
        self.errors += failed
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.buckets[bisect.bisect_left(BOUNDS, seconds)] += 1


class Counts:
    """Counts from any thread.

    :ivar ended: how many requests ended so, by outcome.
    :ivar refused: how many were refused, by the name of the error.
    :ivar dropped: how many got no answer, by reason.
    :ivar ran: how those ran that did, by extension.
    """

    def __init__(self) -> None:
        self.ended: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.ran: dict[str, Calls] = {}
        self._lock = threading.Lock()

    def end(self, outcome: str) -> None:
        """Count a request that was answered, or that nobody waits for any more."""
        with self._lock:
            self.ended[outcome] = self.ended.get(outcome, 0) + 1

    def run(self, extension: str, failed: bool, seconds: float) -> None:
        """Count how a command ran."""
        with self._lock:
            self.ran.setdefault(extension, Calls()).add(failed, seconds)

    def refuse(self, error: BaseException) -> None:
        """Count a request that did not run."""
        name = type(error).__name__
        with self._lock:
            self.refused[name] = self.refused.get(name, 0) + 1

    def drop(self, reason: str) -> None:
        """Count a request that gets no answer."""
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + 1
