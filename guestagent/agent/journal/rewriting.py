# SPDX-License-Identifier: Apache-2.0
"""Write the journal's file anew, without what is not needed any more.

Commands are accepted, synced and end meanwhile: what they write is copied at the end,
and that is the only time for which they have to wait.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from guestagent import errors
from guestagent.agent import recordfile
from guestagent.agent.journal import records, states

LOG = logging.getLogger(__name__)

#: So many commands are copied between two pauses of so many seconds, in which other
#: threads run.
SLICE, PAUSE = 64, 0.0005


class _Copy(NamedTuple):
    """Where the records of a command stand in the new file, and how it stood then."""

    state: int
    accepted: int
    ended: int
    size: int

    def apply(self, entry: states.Entry, known: states.States) -> None:
        entry.accepted, entry.ended = self.accepted, self.ended
        if self.state != states.ACCEPTED:
            entry.unsaved = None
        known.resize(entry, self.size)


def rewrite(
    file: recordfile.RecordFile,
    lock: threading.Lock,
    known: states.States,
    late: list[states.Entry],
    first: bytes,
    turn: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
) -> None:
    """Do it.

    :param lock: under which the others are used, and the file is appended to.
    :param late: what is delivered, and not noted in the file yet; emptied.
    :param first: the first record of the new file.
    :param turn: lets nobody sync the file meanwhile; ``None``: nobody does.
    :raises guestagent.errors.StorageError: the old file stays, as it is.
    """
    new = file.replacement('.new' if turn is None else '.compact')
    try:
        new.append(first)
        with lock:
            snapshot, replaced = list(known), file.replaced
        copied: dict[states.Entry, _Copy] = {}
        for number, entry in enumerate(snapshot):
            copied[entry] = _copy(entry, file, new)
            if turn is not None and number % SLICE == 0:
                time.sleep(PAUSE)
        new.sync()
        with (turn or contextlib.nullcontext)(), lock:
            if file.replaced != replaced:
                raise errors.StorageError('the file was replaced meanwhile')
            # What is delivered from here on is noted in the new file.
            late.clear()
            for entry in known:
                if entry not in copied or copied[entry].state != entry.state:
                    copied[entry] = _copy(entry, file, new)
            new.reserve(known.promised)
            file.replace(new)
            for entry in known:
                copied[entry].apply(entry, known)
    except errors.StorageError:
        new.close()
        raise


def _copy(
    entry: states.Entry, file: recordfile.RecordFile, new: recordfile.Replacement
) -> _Copy:
    """Write what is needed of a command to the new file."""
    state, before = entry.state, new.end
    finished, delivered = state != states.ACCEPTED, state == states.DELIVERED
    places = []
    for place, unsaved in ((entry.accepted, None), (entry.ended, entry.unsaved)):
        record = unsaved
        if record is None and place >= 0:
            record = _read(file, place)
        if record is None:
            places.append(-1)
        else:
            places.append(new.append(records.compact(record, finished, delivered)))
    return _Copy(state, places[0], places[1], new.end - before)


def _read(file: recordfile.RecordFile, place: int) -> bytes | None:
    try:
        return file.read(place)
    except errors.StorageError as error:
        LOG.error('a record of the journal is lost: %s', error)
        return None
