# SPDX-License-Identifier: Apache-2.0
"""The steps that every request passes, each a small class with one job.

The order is in :mod:`guestagent.agent.service`, where they are put together: what is
cheap and refuses comes before what writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from guestagent.agent import request as requests


class Known(Protocol):
    """A command that came before, and has ended or will."""

    def then(self, callback: Callable[[requests.Outcome], None]) -> None:
        """Call back with its outcome, at once or when it ends; from any thread."""


class Unanswered(Exception):
    """A request that gets no answer, nor a report: it is counted and logged.

    :ivar reason: one of a few words, by which it is counted.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Step:
    """One step; each hook does nothing here, and one that is not overridden costs
    nothing.

    A hook refuses by raising an error of :mod:`guestagent.errors` (or the builtin
    error that oslo.messaging answers with), or :class:`Unanswered` when it admits; the
    steps behind it are not asked.
    """

    def admit(self, request: requests.Request) -> None:
        """Judge the request before anything is written; on the loop, no waiting."""

    def accept(self, request: requests.Request) -> Known | None:
        """Take note of the request before it runs; on a worker, may write.

        :returns: ``None``, or the same command that came before: then nothing runs,
            and its outcome is the answer.
        """
        return None

    def refused(self, request: requests.Request, error: BaseException) -> None:
        """Take note that a step has refused the request; on the loop, no waiting."""

    def finish(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Take note of the outcome before the answer leaves; in reverse order.

        Called for each request that was accepted, and for none that was refused; once
        more, with another outcome that does not count, if it was cancelled meanwhile.
        """

    def delivered(self, request: requests.Request) -> None:
        """Take note that others have the outcome now; on the loop, no waiting."""
