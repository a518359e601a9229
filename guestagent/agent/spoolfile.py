# SPDX-License-Identifier: Apache-2.0
"""The spool's file: outcomes and events, and which of them are done with.

Records are lines of text; what follows the line of ``add`` is the report's data::

    owner <JSON>            whose reports these are; the last one counts
    add <id> <kind> LF <JSON>
    gone <id> <id> ...      these are done with
    dropped <number>        so many were lost until then
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from guestagent import errors
from guestagent.agent import disk as disks
from guestagent.agent import recordfile, spool

KIND, VERSION = b'spool', 1

#: Bytes of the disk that only outcomes may use.
RESERVE = 64 * 1024
#: More bytes than a record adds to a report's data.
OVERHEAD = 96

Owner: TypeAlias = dict[str, str]
#: A report, and where it stands now.
Written: TypeAlias = tuple[spool.Report, int]


class Work(NamedTuple):
    """What is to be written.

    :ivar gone: ids of reports that are done with.
    :ivar dropped: how many were lost until now.
    """

    owner: Owner
    reports: Sequence[spool.Report]
    gone: Sequence[str]
    dropped: int


@dataclasses.dataclass
class Found:
    """What was in the file.

    :ivar owner: who has written it; ``None``: it is new.
    :ivar reports: those that are not done with, in their order.
    :ivar dropped: how many were lost before.
    :ivar problem: what was damaged, in a sentence, else ``''``.
    """

    owner: Owner | None = None
    reports: list[spool.Report] = dataclasses.field(default_factory=list)
    dropped: int = 0
    problem: str = ''


class SpoolFile:
    """One file; all but :meth:`close` raise StorageError, and may wait for the disk.

    Used by one thread at a time.
    """

    def __init__(self, path: str, disk: disks.Disk | None = None) -> None:
        self._file = recordfile.RecordFile(path, KIND, VERSION, disk)
        self._owner: Owner = {}
        self._dropped = 0

    @property
    def size(self) -> int:
        """Bytes in use, those of what is done with too."""
        return self._file.size

    @property
    def held(self) -> bool:
        """Whether to make it smaller should wait."""
        return self._file.held

    def open(self) -> Found:
        """Open the file, or make it."""
        replay = self._file.open()
        found = Found(problem=replay.problem())
        reports: dict[str, spool.Report] = {}
        for place, payload in replay.records:
            self._read_record(place, payload, found, reports)
        found.reports = list(reports.values())
        self._owner = found.owner or {}
        self._dropped = found.dropped
        return found

    def save(self, work: Work) -> tuple[list[Written], errors.DiskFull | None]:
        """Write reports, which are safe when this returns, and what has happened.

        :returns: those that were written, and what is wrong if it is not all of them:
            a full disk may have no room for events and still some for outcomes.
        """
        outcomes = [one for one in work.reports if one.kind == spool.OUTCOME]
        events = [one for one in work.reports if one.kind != spool.OUTCOME]
        written: list[Written] = []
        full = None
        try:
            for outcome in outcomes:
                written.append((outcome, self._file.append(self._payload(outcome))))
            self._write_notes(work)
            if events:
                self._file.reserve(RESERVE + sum(one.size + OVERHEAD for one in events))
            for event in events:
                written.append((event, self._file.append(self._payload(event))))
        except errors.DiskFull as error:
            full = error
        if written:
            self._file.sync()
        return written, full

    def rewrite(self, work: Work) -> list[Written]:
        """Put a file with nothing but this in the place of the one that is there."""
        notes = [_owner_record(work.owner), _dropped_record(work.dropped)]
        places = self._file.rewrite(
            itertools.chain(notes, map(self._payload, work.reports))
        )
        self._owner, self._dropped = work.owner, work.dropped
        return list(zip(work.reports, places[len(notes) :], strict=True))

    def read(self, place: int) -> str:
        """Return the data of the report that was written there."""
        return self._file.read(place).partition(b'\n')[2].decode()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write_notes(self, work: Work) -> None:
        if work.owner != self._owner:
            self._file.append(_owner_record(work.owner))
            self._owner = work.owner
        if work.dropped != self._dropped:
            self._file.append(_dropped_record(work.dropped))
            self._dropped = work.dropped
        if work.gone:
            self._file.append(f'gone {" ".join(work.gone)}'.encode())

    def _payload(self, report: spool.Report) -> bytes:
        text = report.text
        if not text and report.place is not None:
            text = self.read(report.place)
        return f'add {report.id} {report.kind}\n{text}'.encode()

    def _read_record(
        self, place: int, payload: bytes, found: Found, reports: dict[str, spool.Report]
    ) -> None:
        line, _, data = payload.partition(b'\n')
        word, *rest = line.decode().split(' ')
        if word == 'add':
            report = spool.Report(rest[1], data.decode(), rest[0])
            report.place, report.text = place, ''
            reports[report.id] = report
        elif word == 'gone':
            for report_id in rest:
                reports.pop(report_id, None)
        elif word == 'dropped':
            found.dropped = int(rest[0])
        elif word == 'owner':
            found.owner = json.loads(' '.join(rest))


def _owner_record(owner: Owner) -> bytes:
    return f'owner {json.dumps(owner)}'.encode()


def _dropped_record(dropped: int) -> bytes:
    return f'dropped {dropped}'.encode()
