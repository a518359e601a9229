# SPDX-License-Identifier: Apache-2.0
"""Keep what changes the guest in the journal, and recognise what came before.

A mutating command is on the disk before it runs, and its outcome before the answer
leaves; each repeat gets that outcome (doc/wire.rst, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from guestagent.agent import request as requests
from guestagent.agent import steps
from guestagent.agent.journal import journal as journals


class Journaling(steps.Step):
    """Asks the journal, for commands that change the guest."""

    def __init__(self, journal: journals.Journal) -> None:
        self._journal = journal

    def accept_all(
        self, several: Sequence[requests.Request]
    ) -> dict[requests.Request, steps.Known | Exception]:
        """Keep new commands, and return those that came before.

        Among what is refused: :class:`guestagent.errors.IdReused`, the id was another
        command's, and :class:`guestagent.errors.StorageError`, it cannot be kept.
        """
        mutating = [request for request in several if request.mutates]
        return {**self._journal.accept(mutating)} if mutating else {}

    def finish_all(self, ended: Sequence[steps.Ended]) -> None:
        """Keep the outcomes; of a secret one only that it is done."""
        mutating = [one for one in ended if one[0].mutates]
        if mutating:
            self._journal.finish(mutating)

    def delivered(self, request: requests.Request) -> None:
        """Note that the outcome may be forgotten."""
        if request.mutates:
            self._journal.deliver(request.caller, request.id)
