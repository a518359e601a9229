# SPDX-License-Identifier: Apache-2.0
"""The journal: what is accepted and how it ended, on the disk before others hear of it.

For each command that is accepted and has not ended there is room on the disk for its
outcome, so a disk that fills up refuses new commands and loses no outcome.  When a disk
has failed to keep what was written, the whole file is written anew; until that works
nothing is accepted.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors
from guestagent.agent import outcomes, recordfile, recordformat
from guestagent.agent import request as requests
from guestagent.agent.journal import commits, records, rewriting, states

LOG = logging.getLogger(__name__)

#: Bytes that are reserved at a time, while there are so many.
CHUNK = 128 * 1024
#: The file is written anew when what is not needed any more takes so many bytes, and
#: more than what is.
WASTE_MAX = 1024 * 1024

#: Takes the name of an event and its data; from any thread.
Tell = Callable[[str, Mapping[str, Any]], None]


class Journal:
    """The commands that change the guest; for all threads.

    :param instance: the id of the guest: another's commands are none of ours.
    :param tell: is told when commands begin to be refused, and when that is over.
    """

    def __init__(
        self,
        file: recordfile.RecordFile,
        instance: str,
        bounds: states.Bounds,
        tell: Tell,
    ) -> None:
        self._file = file
        self._instance = instance
        self._first = records.encode_instance(instance)
        self._tell = tell
        self._lock = threading.Lock()
        self._states = states.States(bounds)
        self._commits = commits.Commits(self._lock, self._sync)
        self._late: list[states.Entry] = []
        self._compaction: threading.Thread | None = None
        self._closed = False
        self._refused = 0

    def __len__(self) -> int:
        return len(self._states)

    @property
    def size(self) -> int:
        """Bytes that the file takes."""
        return self._file.size

    @property
    def refusing(self) -> bool:
        """Whether the last command that was to be accepted could not be kept."""
        return self._refused > 0

    def open(self) -> None:
        """Read what is there.

        :raises guestagent.errors.StorageError: the file cannot be used.
        """
        found = self._file.open()
        first = next((record for _, record in found.records), b'')
        if records.is_of_another(first, self._instance):
            LOG.warning('the journal is that of another instance: it is emptied')
            found.records = []
            self._file.rewrite([self._first])
        elif not first:
            self._file.append(self._first)
        self._states.replay(found.records, recordformat.FRAME_SIZE, time.monotonic())
        if found.dropped and not found.gaps:
            LOG.info('the journal: %s, as after a crash', found.problem())
        elif found.problem() or self._states.strange:
            LOG.error(
                'the journal is damaged, commands may be forgotten: %s; %d records '
                'make no sense',
                found.problem() or 'all records are whole',
                self._states.strange,
            )
            self._compact()

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        with self._commits.pause(), self._lock:
            self._closed = True
            self._write_late()
            self._file.close()

    def accept(self, request: requests.Request) -> states.Known | None:
        """Keep a command, or return the same one that came before.

        :raises guestagent.errors.IdReused: the id was another command's.
        :raises guestagent.errors.StorageError: it cannot be kept.
        """
        record = records.encode_accepted(request, time.time())
        entered = None
        try:
            while entered is None:
                with self._lock:
                    known = self._known(request)
                    if known is not None:
                        return known
                    if not self._file.broken:
                        entered = self._enter(request, record)
                if entered is None:
                    self._mend()
            self._wait(*entered)
        except errors.StorageError as error:
            self._note_refused(error)
            raise
        if self._refused:
            self._note_accepted()
        return None

    def finish(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Keep how a command ended; of one that is not known, or has ended, nothing."""
        with self._lock:
            entry = self._states.find(request.caller, request.id)
        if entry is None or entry.digest.hex() != request.digest:
            return
        data = outcomes.describe(request, outcome)
        if self.end(entry, data, outcomes.describe_failure(outcome)):
            self._call_waiting(entry, outcome.kept(request))

    def end(
        self,
        entry: states.Entry,
        data: dict[str, Any],
        failure: dict[str, Any] | None,
        wait: bool = True,
    ) -> bool:
        """Keep the outcome of a command; return whether it had none before.

        A disk that does not take it is logged: the outcome stays in memory.

        :param data: and the other are those of :mod:`guestagent.agent.outcomes`.
        :param wait: until the disk has it; otherwise :meth:`sync` will see to it, and
            repeats need not wait for that.
        """
        record = records.encode_ended(entry.number, data, failure)
        try:
            with self._lock:
                if entry.state != states.ACCEPTED or entry not in self._states:
                    return False
                ticket = self._write_end(entry, record, data)
                if not wait:
                    entry.waiting = None
            if wait:
                self._commits.wait(ticket)
        except errors.StorageError as error:
            with self._lock:
                entry.unsaved = record
                self._states.end(entry, -1, 0)
            LOG.error(
                'the outcome of command %s is in memory only: %s', entry.id, error
            )
        self._look_at_waste()
        return True

    def sync(self) -> None:
        """Have the disk hold all outcomes.

        :raises guestagent.errors.StorageError: it does not.
        """
        with self._lock:
            ticket = self._commits.ticket()
        self._commits.wait(ticket)

    def deliver(self, caller: str, command_id: str) -> None:
        """Note that others have the outcome of a command; does not wait.

        A crash may forget this: then the outcome is reported once more.
        """
        entry = self.find(caller, command_id)
        if entry is None or not self._states.deliver(entry):
            return
        self._late.append(entry)
        if self._lock.acquire(blocking=False):
            try:
                if not self._closed:
                    self._write_late()
            finally:
                self._lock.release()

    def find(self, caller: str, command_id: str) -> states.Entry | None:
        """Return what is known of a command, or ``None``."""
        return self._states.find(caller, command_id)

    def unfinished(self) -> list[states.Entry]:
        """Return the commands that were accepted and have no outcome."""
        with self._lock:
            return [one for one in self._states if one.state == states.ACCEPTED]

    def undelivered(self) -> list[states.Entry]:
        """Return the commands whose outcome nobody has."""
        with self._lock:
            return [one for one in self._states if one.state == states.ENDED]

    def accepted(self, entry: states.Entry) -> records.Accepted:
        """Return what was kept of a command when it was accepted.

        :raises guestagent.errors.StorageError: it cannot be read.
        """
        with self._lock:
            return _sensible(records.accepted, self._file.read(entry.accepted))

    def ended(
        self, entry: states.Entry
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return data and failure of the outcome of a command that has ended.

        :raises guestagent.errors.StorageError: it cannot be read.
        """
        with self._lock:
            record = entry.unsaved or self._file.read(entry.ended)
        return _sensible(records.ended, record)

    def then(
        self, entry: states.Entry, callback: Callable[[requests.Outcome], None]
    ) -> None:
        """Call back with the outcome of a command, at once or when it ends."""
        with self._lock:
            if entry.waiting is not None:
                entry.waiting.append(callback)
                return
        callback(self.outcome(entry))

    def outcome(self, entry: states.Entry) -> requests.Outcome:
        """Return how a command has ended; an outcome that says so if that is lost."""
        try:
            return outcomes.revive(*self.ended(entry))
        except errors.StorageError as error:
            return requests.Outcome(requests.FAILED, error=error)

    # In the lock

    def _known(self, request: requests.Request) -> states.Known | None:
        entry = self._states.find(request.caller, request.id)
        if entry is None:
            return None
        if entry.digest.hex() != request.digest:
            raise errors.IdReused(
                f'the command id {entry.id!r} was used for another request; choose a '
                f'new one'
            )
        return states.Known(functools.partial(self.then, entry))

    def _enter(
        self, request: requests.Request, record: bytes
    ) -> tuple[states.Entry, int]:
        found, now = self._states, time.monotonic()
        record = records.numbered(found.next_number, record)
        size = len(record) + recordformat.FRAME_SIZE
        found.make_room(size, now)
        self._reserve(size + found.promised + states.promise(request.caller))
        self._write_late()
        place = self._file.append(record)
        entry = found.accept(
            request.caller, request.id, request.digest, place, size, now
        )
        entry.waiting = []
        return entry, self._commits.ticket()

    def _write_end(
        self, entry: states.Entry, record: bytes, data: dict[str, Any]
    ) -> int:
        """Write an outcome; without its result if there is no room for it."""
        own = states.promise(entry.caller)
        size = len(record) + recordformat.FRAME_SIZE
        try:
            self._reserve(size + self._states.promised - own)
        except errors.DiskFull:
            if size > own:
                short = outcomes.shortened(data, 'the disk had no room for the result')
                record = records.encode_ended(entry.number, short, None)
                size = len(record) + recordformat.FRAME_SIZE
        self._write_late()
        place = self._file.append(record)
        self._states.end(entry, place, size)
        return self._commits.ticket()

    def _reserve(self, size: int) -> None:
        if self._file.room >= size:
            return
        try:
            self._file.reserve(max(size, CHUNK))
        except errors.DiskFull:
            self._file.reserve(size)

    def _write_late(self) -> None:
        """Write which outcomes are delivered, where there is room for that."""
        while self._late and not self._file.broken:
            record = records.encode_delivered(self._late[-1].number)
            size = len(record) + recordformat.FRAME_SIZE
            try:
                self._reserve(size + self._states.promised)
                self._file.append(record)
            except errors.StorageError as error:
                LOG.debug('not noted as delivered: %s', error)
                return
            self._late.pop()

    # Not in the lock

    def _sync(self) -> None:
        """Sync; what the disk has failed to keep is written once more, elsewhere."""
        try:
            self._file.sync()
        except errors.StorageError as error:
            LOG.error('the journal is written anew: %s', error)
            self._rewrite()

    def _call_waiting(self, entry: states.Entry, outcome: requests.Outcome) -> None:
        with self._lock:
            waiting, entry.waiting = entry.waiting, None
        for callback in waiting or ():
            callback(outcome)

    def _wait(self, entry: states.Entry, ticket: int) -> None:
        """Wait until the disk has a new command; if it does not, forget it."""
        try:
            self._commits.wait(ticket)
        except errors.StorageError as error:
            with self._lock:
                self._states.remove(entry)
            self._call_waiting(entry, requests.Outcome(requests.FAILED, error=error))
            raise

    def _note_refused(self, error: errors.StorageError) -> None:
        self._refused += 1
        if self._refused == 1:
            LOG.error('commands that change the guest are refused: %s', error)
            self._tell('journal-refuses', {'code': error.code, 'reason': str(error)})

    def _note_accepted(self) -> None:
        refused, self._refused = self._refused, 0
        LOG.info('commands are accepted again; %d were refused', refused)
        self._tell('journal-accepts', {'refused': refused})

    def _look_at_waste(self) -> None:
        waste = self._file.size - self._states.size
        if waste <= max(WASTE_MAX, self._states.size) or self._file.broken:
            return
        with self._lock:
            if self._compaction is not None:
                return
            self._compaction = threading.Thread(
                target=self._compact, name='journal', daemon=True
            )
        self._compaction.start()

    def _compact(self) -> None:
        """Write the file anew; on a thread of its own, beside all else."""
        try:
            self._rewrite(self._commits.pause)
        except errors.StorageError as error:
            LOG.warning('the journal could not be made smaller: %s', error)
        finally:
            self._compaction = None

    def _mend(self) -> None:
        """Write the file anew if the disk has failed to keep it."""
        with self._commits.pause():
            if self._file.broken:
                self._rewrite()

    def _rewrite(
        self, turn: Callable[[], contextlib.AbstractContextManager[None]] | None = None
    ) -> None:
        rewriting.rewrite(
            self._file, self._lock, self._states, self._late, self._first, turn
        )


def _sensible(read: Callable[[bytes], Any], record: bytes) -> Any:
    try:
        return read(record)
    except ValueError as error:
        raise errors.StorageError(f'a record of the journal: {error}') from error
