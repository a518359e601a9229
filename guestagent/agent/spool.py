# SPDX-License-Identifier: Apache-2.0
"""Reports that wait to be sent, in order and within bounds; no I/O.

Of heartbeats only the newest counts, facts that wait are merged, outcomes and events
are kept in order.  When there are too many, the oldest event goes first, then the
oldest outcome, and each loss is counted and told with the next heartbeat.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

HEARTBEAT = 'heartbeat'
FACTS = 'facts'
OUTCOME = 'outcome'
EVENT = 'event'

#: In the order in which they are sent: somebody may wait for an outcome.
KINDS = (OUTCOME, FACTS, EVENT, HEARTBEAT)


class Report:
    """One report; it keeps its sequence however often it is sent.

    :ivar sequence: given when it is first taken to be sent; 0 before.
    :ivar kept: to be called when a crash cannot lose it any more, or ``None``.
    """

    __slots__ = ('data', 'kept', 'kind', 'message_id', 'sequence')

    def __init__(
        self, kind: str, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        self.kind = kind
        self.data = data
        self.kept = kept
        self.sequence = 0
        self.message_id = ''


class Spool:
    """What waits, and what was sent and waits for its confirm."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: dict[str, collections.deque[Report]] = {
            kind: collections.deque() for kind in KINDS
        }
        self._sequences = dict.fromkeys(KINDS, 0)
        #: How many outcomes and events were dropped for want of room.
        self.dropped = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(
        self, kind: str, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        """Take a report."""
        waiting = self._waiting[kind]
        if kind == HEARTBEAT:
            waiting.clear()
        elif kind == FACTS and waiting and not waiting[-1].sequence:
            waiting[-1].data = merge_facts(waiting[-1].data, data)
            return
        waiting.append(Report(kind, data, kept))
        self._bound()

    def take(self) -> Report | None:
        """Return the next report to send, with its sequence, or ``None``."""
        for kind in KINDS:
            if self._waiting[kind]:
                report = self._waiting[kind].popleft()
                if not report.sequence:
                    self._sequences[kind] += 1
                    report.sequence = self._sequences[kind]
                return report
        return None

    def give_back(self, report: Report) -> None:
        """Take back a report that was not sent, to its place in the order."""
        waiting = self._waiting[report.kind]
        if report.kind == HEARTBEAT and waiting:
            return  # there is a newer one
        place = 0
        for other in waiting:
            if not other.sequence or other.sequence > report.sequence:
                break
            place += 1
        waiting.insert(place, report)

    def _bound(self) -> None:
        kept = (EVENT, OUTCOME)
        while sum(len(self._waiting[kind]) for kind in kept) > self._size:
            kind = next(kind for kind in kept if self._waiting[kind])
            self._waiting[kind].popleft()
            self.dropped += 1


def merge_facts(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return two facts reports as one."""
    if newer['full']:
        return newer
    facts = {**older['facts'], **newer['facts']}
    if older['full']:
        facts = {key: value for key, value in facts.items() if value is not None}
    return {'full': older['full'], 'facts': facts}
