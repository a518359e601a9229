# SPDX-License-Identifier: Apache-2.0
"""What a program has sent and the hub has not answered; for threads, no I/O."""

from __future__ import annotations

import collections
import threading
import time
from typing import Any

from guestagent.bus.framing import Outcome

#: How many messages are kept to be sent again, and how many bytes of them.
KEPT_COUNT = 1000
KEPT_BYTES = 32 * 1024 * 1024


class Down(ConnectionError):
    """There is no connection to the hub; says why."""


class Refused(Exception):
    """The hub has not taken a message, or could not deliver it.

    :ivar outcome: how it put that.
    """

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason or outcome.value)
        self.outcome = outcome


class Waiter:
    """Waits for the hub's first word on a message.

    :param retry: how many connections may fail meanwhile; ``None``: any number.
    """

    def __init__(self, retry: int | None) -> None:
        self._event = threading.Event()
        self._left = retry
        self._problem: Exception | None = None

    def end(self, problem: Exception | None) -> None:
        """It has come: ``None`` for a good one."""
        self._problem = problem
        self._event.set()

    def has_ended(self) -> bool:
        """Whether :meth:`wait` returns at once."""
        return self._event.is_set()

    def failed(self, problem: Exception) -> None:
        """A connection was lost, or did not come about."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self.end(problem)

    def wait(self, seconds: float | None) -> None:
        """Return when the hub has the message.

        :raises Down, Refused, TimeoutError: it has not.
        """
        if not self._event.wait(seconds):
            raise TimeoutError('the hub did not answer in time')
        if self._problem is not None:
            raise self._problem


class Kept:
    """Messages that the hub has not confirmed, by their numbers; the latest of them."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[int, tuple[dict[str, Any], bytes]]
        self._kept = collections.OrderedDict()
        self._bytes = 0

    def add(self, number: int, header: dict[str, Any], body: bytes) -> None:
        """Keep a message, and forget the oldest if there is no room."""
        self._kept[number] = header, body
        self._bytes += len(body)
        while len(self._kept) > KEPT_COUNT or (
            self._bytes > KEPT_BYTES and len(self._kept) > 1
        ):
            self.pop(next(iter(self._kept)))

    def pop(self, number: int) -> None:
        """Forget a message."""
        found = self._kept.pop(number, None)
        if found is not None:
            self._bytes -= len(found[1])

    def all(self) -> list[tuple[dict[str, Any], bytes]]:
        """Return them in order."""
        return list(self._kept.values())


def left(deadline: float | None) -> float | None:
    """Return the seconds until then; ``None``: there is no end."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
