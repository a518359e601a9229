# SPDX-License-Identifier: Apache-2.0
"""Keep what changes the guest in the journal, and recognise what came before.

A mutating command is on the disk before it runs, and its outcome before the answer
leaves; each repeat gets that outcome (doc/wire.rst, section 3).
"""

from __future__ import annotations

from guestagent.agent import request as requests
from guestagent.agent import steps
from guestagent.agent.journal import journal as journals


class Journaling(steps.Step):
    """Asks the journal, for commands that change the guest."""

    def __init__(self, journal: journals.Journal) -> None:
        self._journal = journal

    def accept(self, request: requests.Request) -> steps.Known | None:
        """Keep a new command, or return the same one that came before.

        :raises guestagent.errors.IdReused: the id was another command's.
        :raises guestagent.errors.StorageError: it cannot be kept.
        """
        return self._journal.accept(request) if request.mutates else None

    def finish(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Keep the outcome; of a secret one only that it is done."""
        if request.mutates:
            self._journal.finish(request, outcome)

    def delivered(self, request: requests.Request) -> None:
        """Note that the outcome may be forgotten."""
        if request.mutates:
            self._journal.deliver(request.caller, request.id)
