# SPDX-License-Identifier: Apache-2.0
"""Recognise a command that came before, by (caller, id, digest).

It stands where the journal will, and keeps the same promise as long as the agent
lives: a mutating command whose id its caller chose runs once, and each repeat gets
its outcome (doc/wire.rst, section 3).
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent import steps

#: How many commands are remembered.
REMEMBERED = 1000


class _Record:
    """One command, running or ended."""

    __slots__ = ('_lock', '_waiting', 'digest', 'outcome')

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.outcome: requests.Outcome | None = None
        self._waiting: list[Callable[[requests.Outcome], None]] = []
        self._lock = threading.Lock()

    def then(self, callback: Callable[[requests.Outcome], None]) -> None:
        """See :class:`guestagent.agent.steps.Known`."""
        with self._lock:
            outcome = self.outcome
            if outcome is None:
                self._waiting.append(callback)
                return
        callback(outcome)

    def end(self, outcome: requests.Outcome) -> None:
        """Keep the outcome and tell all who wait for it."""
        with self._lock:
            self.outcome = outcome
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback(outcome)


class Repeats(steps.Step):
    """Remembers the last commands and their outcomes, in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: collections.OrderedDict[tuple[str, str], _Record]
        self._records = collections.OrderedDict()

    def accept(self, request: requests.Request) -> steps.Known | None:
        """Note a new command, or return the same one that came before.

        :raises guestagent.errors.IdReused: the id was another command's.
        """
        if not (request.id_given and request.mutates):
            return None
        key, digest = (request.caller, request.id), request.digest
        with self._lock:
            record = self._records.get(key)
            if record is None:
                self._records[key] = _Record(digest)
                self._forget()
                return None
        if record.digest != digest:
            raise errors.IdReused(
                f'the command id {request.id!r} was used for another request; '
                f'choose a new one'
            )
        return record

    def finish(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Keep the outcome for repeats; of a secret one only that it is done."""
        if not (request.id_given and request.mutates):
            return
        with self._lock:
            record = self._records.get((request.caller, request.id))
        if record is not None:
            record.end(outcome.kept(request))

    def outcome(self, caller: str, command_id: str) -> requests.Outcome | None:
        """Return how a remembered command ended, ``None`` if it has not or is unknown.

        Only what its caller has given an id is remembered.
        """
        with self._lock:
            record = self._records.get((caller, command_id))
        return record.outcome if record is not None else None

    def _forget(self) -> None:
        """Drop the oldest that have ended."""
        if len(self._records) <= REMEMBERED:
            return
        ended = (
            key for key, record in self._records.items() if record.outcome is not None
        )
        oldest = next(ended, None)
        if oldest is not None:
            del self._records[oldest]
