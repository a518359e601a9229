# SPDX-License-Identifier: Apache-2.0
"""What is appended to the journal's file, in such a way that outcomes have room.

Nothing waits here, and nothing is on the disk before :meth:`Writer.flush` and a sync.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from guestagent import errors
from guestagent.agent import outcomes, recordfile, recordformat
from guestagent.agent import request as requests
from guestagent.agent.journal import records, states

LOG = logging.getLogger(__name__)

#: Bytes that are reserved at a time, while there are so many.
CHUNK = 128 * 1024


class End:
    """The outcome of a command, and its record.

    :param data: and the other are those of :mod:`guestagent.agent.outcomes`.
    """

    __slots__ = ('data', 'entry', 'record')

    def __init__(
        self, entry: states.Entry, data: dict[str, Any], failure: dict[str, Any] | None
    ) -> None:
        self.entry = entry
        self.data = data
        self.record = records.encode_ended(entry.number, data, failure)
        if len(self.record) > recordformat.PAYLOAD_MAX:
            self.record = self.short('it is too large for the journal')

    def short(self, reason: str) -> bytes:
        """Return a record without the result."""
        data = outcomes.shortened(self.data, reason)
        return records.encode_ended(self.entry.number, data, None)


class Writer:
    """Appends to the file; in the journal's lock.

    :ivar late: the commands that others have the outcome of, and the file does not say
        so yet; may be appended to without the lock.
    """

    def __init__(self, file: recordfile.RecordFile, known: states.States) -> None:
        self._file = file
        self._states = known
        self.late: list[states.Entry] = []

    def enter(self, request: requests.Request, record: bytes) -> states.Entry:
        """Take a new command; it is written by the next :meth:`flush`.

        :param record: what :func:`records.encode_accepted` has made of it.
        :raises guestagent.errors.StorageError: there is no room for it, or for its
            outcome.
        """
        found, now = self._states, time.monotonic()
        record = records.numbered(found.next_number, record)
        size = _size(record)
        found.make_room(size, now)
        self._reserve(size + found.promised + states.promise(request.caller))
        place = self._file.stage(record)
        entry = found.accept(
            request.caller, request.id, request.digest, place, size, now
        )
        entry.waiting = []
        return entry

    def end(self, end: End) -> bool:
        """Take an outcome; it is written by the next :meth:`flush`.

        It goes without its result where there is no room for that, and stays in memory
        if it cannot be written at all.

        :returns: whether it will be written.
        """
        own = states.promise(end.entry.caller)
        record = end.record
        try:
            try:
                self._reserve(_size(record) + self._states.promised - own)
            except errors.DiskFull:
                if _size(record) > own:
                    record = end.short('the disk had no room for the result')
            place = self._file.stage(record)
        except errors.StorageError as error:
            self.keep_in_memory([end], error)
            return False
        self._states.end(end.entry, place, _size(record))
        return True

    def keep_in_memory(self, ends: Iterable[End], error: errors.StorageError) -> None:
        """Take outcomes that the disk does not."""
        for end in ends:
            end.entry.unsaved = end.record
            self._states.end(end.entry, -1, 0)
            LOG.error(
                'the outcome of command %s is in memory only: %s', end.entry.id, error
            )

    def flush(self) -> None:
        """Write what was taken, all in one, and what is late, where there is room.

        :raises guestagent.errors.StorageError: nothing of it is written.
        """
        late = 0
        for entry in self.late[:]:
            record = records.encode_delivered(entry.number)
            try:
                self._reserve(_size(record) + self._states.promised)
                self._file.stage(record)
            except errors.StorageError as error:
                LOG.debug('not noted as delivered: %s', error)
                break
            late += 1
        self._file.flush()
        del self.late[:late]

    def write_late(self) -> None:
        """Write which outcomes are delivered, if that can be done."""
        try:
            self.flush()
        except errors.StorageError as error:
            LOG.debug('not noted as delivered: %s', error)

    def _reserve(self, size: int) -> None:
        if self._file.room >= size:
            return
        try:
            self._file.reserve(max(size, CHUNK))
        except errors.DiskFull:
            self._file.reserve(size)


def encode(
    several: Iterable[requests.Request],
    refused: dict[requests.Request, states.Known | Exception],
) -> dict[requests.Request, bytes]:
    """Return what is to be kept of requests; those without are refused."""
    now = time.time()
    encoded = {}
    for request in several:
        try:
            encoded[request] = records.encode_accepted(request, now)
        except (ValueError, RecursionError) as error:
            refused[request] = error
    return encoded


def _size(record: bytes) -> int:
    return len(record) + recordformat.FRAME_SIZE
