# SPDX-License-Identifier: Apache-2.0
"""The steps that every request passes, each a small class with one job.

The order is in :mod:`guestagent.agent.service`, where they are put together: what is
cheap and refuses comes before what writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from guestagent.agent import request as requests


class Known(Protocol):
    """A command that came before, and has ended or will."""

    def then(self, callback: Callable[[requests.Outcome], None]) -> None:
        """Call back with its outcome, at once or when it ends; from any thread."""


#: How a request ended that was accepted.
Ended = tuple[requests.Request, requests.Outcome]


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

    def accept_all(
        self, several: Sequence[requests.Request]
    ) -> dict[requests.Request, Known | Exception]:
        """Take note of several requests at once, as :meth:`accept` does of one.

        :returns: what came before, and what is refused; the others run.
        """
        found: dict[requests.Request, Known | Exception] = {}
        for request in several:
            try:
                known = self.accept(request)
            except Exception as error:  # noqa: BLE001 (answered by the dispatcher)
                found[request] = error
            else:
                if known is not None:
                    found[request] = known
        return found

    def refused(self, request: requests.Request, error: BaseException) -> None:
        """Take note that a step has refused the request; on the loop, no waiting."""

    def finish(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Take note of the outcome before the answer leaves; in reverse order.

        Called for each request that was accepted, and for none that was refused; once
        more, with another outcome that does not count, if it was cancelled meanwhile.
        """

    def finish_all(self, ended: Sequence[Ended]) -> None:
        """Take note of several outcomes at once, as :meth:`finish` does of one."""
        for request, outcome in ended:
            self.finish(request, outcome)

    def delivered(self, request: requests.Request) -> None:
        """Take note that others have the outcome now; on the loop, no waiting."""
