# SPDX-License-Identifier: Apache-2.0
"""Reports that wait to be sent, in order and within bounds; no I/O.

Of heartbeats only the newest counts and facts that wait are merged: both are made anew
when a connection is, and are never kept on disk.  Outcomes and events are kept in
order until the bus has them, on disk if that takes a while (:mod:`spooling`).  When
there are too many, the oldest event goes first, then the oldest outcome, and each loss
is counted and told with the next heartbeat.
"""

from __future__ import annotations

import collections
import json
import os
import time
from collections.abc import Callable
from typing import Any

from guestagent import digest

HEARTBEAT = 'heartbeat'
FACTS = 'facts'
OUTCOME = 'outcome'
EVENT = 'event'

#: Made anew for each connection, and small: they wait for nothing.
FRESH = (HEARTBEAT, FACTS)
#: Kept until the bus has them, those first for which somebody may wait.
KEPT = (OUTCOME, EVENT)
#: In the order in which they are sent.
KINDS = (*FRESH, *KEPT)


class Report:
    """One report.

    :ivar id: the same whenever it is sent, by whichever process.
    :ivar text: its data as JSON; ``''``: it stands on the disk only.
    :ivar size: of the text, in bytes.
    :ivar place: where it stands on the disk; ``None``: nowhere.
    :ivar number: ascends in the order in which reports are to be sent.
    :ivar sequence: within its generation; 0: not sent in this one yet.
    :ivar generation: the number of the one in which it was last sent.
    :ivar on_way: whether it was taken and is neither confirmed nor given back.
    :ivar done: whether nothing more is to be done for it.
    :ivar kept: called once, when no crash of the guest can lose it any more.
    """

    __slots__ = (
        'done',
        'generation',
        'id',
        'kept',
        'kind',
        'number',
        'on_way',
        'place',
        'sequence',
        'size',
        'text',
    )

    def __init__(self, kind: str, text: str, report_id: str) -> None:
        self.kind = kind
        self.id = report_id
        self.text = text
        self.size = len(text)
        self.place: int | None = None
        self.number = self.sequence = self.generation = 0
        self.on_way = self.done = False
        self.kept: Callable[[], None] | None = None


class Spool:
    """What waits, and what was sent and waits for its confirm.

    :param count: how many outcomes and events wait at most.
    :param size: how many bytes of JSON they may take.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count_max, self._size_max = count, size
        self._waiting: dict[str, collections.deque[Report]] = {
            kind: collections.deque() for kind in KINDS
        }
        self._sequences = dict.fromkeys(KINDS, 0)
        self._generation = self._number = self._size = 0
        #: Outcomes and events that stand nowhere on the disk, by id and in order.
        self.unsaved: dict[str, Report] = {}
        #: Those that do, whether they wait or are on their way.
        self.saved: dict[str, Report] = {}
        #: What stands on the disk and is done with.
        self.gone: list[str] = []
        #: How many outcomes and events were dropped for want of room.
        self.dropped = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def held(self) -> int:
        """How many outcomes and events wait."""
        return sum(len(self._waiting[kind]) for kind in KEPT)

    def add(
        self, kind: str, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        """Take a report.

        :param kept: called once, when no crash of the guest can lose it any more.
        """
        waiting = self._waiting[kind]
        if kind == HEARTBEAT:
            waiting.clear()
        elif kind == FACTS and waiting and not waiting[-1].sequence:
            merged = merge_facts(json.loads(waiting[-1].text), data)
            waiting[-1].text = json.dumps(merged)
            return
        text = json.dumps(data)
        # Fresh ones are known by their place in their generation.
        report = Report(kind, text, new_id(text)[: 16 if kind in FRESH else None])
        report.kept = kept
        if kind in KEPT:
            self.unsaved[report.id] = report
        self._append(report)

    def restore(self, report: Report) -> None:
        """Take a report that stood on the disk when we started."""
        self.saved[report.id] = report
        self._append(report)

    def begin(self) -> None:
        """Begin a generation: count from 1, and number anew what waits.

        Heartbeats and facts are forgotten: whoever begins a generation makes them
        anew.
        """
        self._generation += 1
        self._sequences = dict.fromkeys(KINDS, 0)
        for kind in FRESH:
            self._waiting[kind].clear()
        for kind in KEPT:
            for report in self._waiting[kind]:
                report.sequence = 0

    def take(self, kinds: tuple[str, ...] = KINDS) -> Report | None:
        """Return the next report to send, with its sequence, or ``None``."""
        for kind in kinds:
            if self._waiting[kind]:
                report = self._waiting[kind].popleft()
                if kind in KEPT:
                    self._size -= report.size
                if not report.sequence:
                    self._sequences[kind] += 1
                    report.sequence = self._sequences[kind]
                    report.generation = self._generation
                report.on_way = True
                return report
        return None

    def give_back(self, report: Report) -> None:
        """Take back a report that was not sent, to its place in the order."""
        waiting = self._waiting[report.kind]
        report.on_way = False
        if report.generation != self._generation:
            if report.kind in FRESH:
                return  # they are made anew
            report.sequence = 0
        if report.kind == HEARTBEAT and waiting:
            return  # there is a newer one
        place = 0
        for other in waiting:
            if other.number > report.number:
                break
            place += 1
        waiting.insert(place, report)
        if report.kind in KEPT:
            self._size += report.size
            self._let_go(report)
            self._bound()

    def confirmed(self, report: Report) -> None:
        """Note that the bus has a report: it is done with."""
        report.on_way = False
        report.done = True
        _tell(report)
        self.unsaved.pop(report.id, None)
        if self.saved.pop(report.id, None) is not None:
            self.gone.append(report.id)

    def note_saved(self, report: Report, place: int) -> None:
        """Note that a report stands on the disk, at ``place``."""
        if report.done:
            self.gone.append(report.id)
            return
        _tell(report)
        report.place = place
        self.unsaved.pop(report.id, None)
        self.saved[report.id] = report
        self._let_go(report)

    def drop(self, report: Report) -> None:
        """Give a report up, and count it."""
        report.kept = None
        self.dropped += 1
        self.confirmed(report)

    def _append(self, report: Report) -> None:
        self._number += 1
        report.number = self._number
        self._waiting[report.kind].append(report)
        if report.kind in KEPT:
            self._size += report.size
            self._bound()

    def _let_go(self, report: Report) -> None:
        """Hold no text in memory that stands on the disk, and is not being sent."""
        if report.place is not None and not report.on_way:
            report.text = ''

    def _bound(self) -> None:
        while self.held > self._count_max or (
            self._size > self._size_max and self.held > 1
        ):
            kind = next(kind for kind in reversed(KEPT) if self._waiting[kind])
            report = self._waiting[kind].popleft()
            self._size -= report.size
            self.drop(report)


def _tell(report: Report) -> None:
    if report.kept is not None:
        kept, report.kept = report.kept, None
        kept()


def new_id(text: str) -> str:
    """Return an id that no other report has: 32 hexadecimal digits.

    A guest that goes on twice from one snapshot draws the same random numbers twice,
    so what it says and the time are a part of it.
    """
    now = f'{time.time_ns()} {time.monotonic_ns()} '.encode()
    return digest.sha256(os.urandom(16) + now + text.encode())[:32]


def merge_facts(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return two facts reports as one."""
    if newer['full']:
        return newer
    facts = {**older['facts'], **newer['facts']}
    if older['full']:
        facts = {key: value for key, value in facts.items() if value is not None}
    return {'full': older['full'], 'facts': facts}
