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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent.agent import outcomes, recordfile, recordformat
from guestagent.agent import request as requests
from guestagent.agent.journal import (
    commits,
    records,
    refusals,
    rewriting,
    states,
    writing,
)

LOG = logging.getLogger(__name__)

#: The file is written anew when what is not needed any more takes so many bytes, and
#: more than what is.
WASTE_MAX = 1024 * 1024

#: Seconds between two notes of what is delivered, while commands are in flight.
NOTE_INTERVAL = 1.0


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
        tell: refusals.Tell,
    ) -> None:
        self._file = file
        self._instance = instance
        self._first = records.encode_instance(instance)
        self._lock = threading.Lock()
        self._states = states.States(bounds)
        self._commits = commits.Commits(self._lock, self._sync)
        self._writer = writing.Writer(file, self._states)
        self._compaction: threading.Thread | None = None
        self._closed = False
        self._noted = 0.0
        self._refusals = refusals.Refusals(tell)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def size(self) -> int:
        """Bytes that the file takes."""
        return self._file.size

    @property
    def refusing(self) -> bool:
        """Whether the last command that was to be accepted could not be kept."""
        return self._refusals.count > 0

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
            self._writer.write_late()
            self._file.close()

    def accept(
        self, several: Sequence[requests.Request]
    ) -> dict[requests.Request, states.Known | Exception]:
        """Keep commands; return which came before, and which are refused.

        What is refused comes with :class:`guestagent.errors.IdReused`: the id was
        another command's, or :class:`guestagent.errors.StorageError`: it cannot be
        kept.
        """
        found: dict[requests.Request, states.Known | Exception] = {}
        entered: dict[requests.Request, states.Entry] = {}
        encoded = writing.encode(several, found)
        try:
            while True:
                with self._lock:
                    ticket = self._enter_all(encoded, found, entered)
                if ticket is not None:
                    break
                self._mend()
            if entered:
                self._commits.wait(ticket)
        except errors.StorageError as error:
            self._forget(entered, error)
            entered = {}
            found |= {one: error for one in encoded if one not in found}
        if entered:
            self._refusals.note_end()
        for answer in found.values():
            if isinstance(answer, errors.StorageError):
                self._refusals.note(answer)
        return found

    def finish(
        self, ended: Sequence[tuple[requests.Request, requests.Outcome]]
    ) -> None:
        """Keep how commands ended; of one unknown, or ended before, nothing."""
        ends: list[writing.End] = []
        told: dict[states.Entry, requests.Outcome] = {}
        for request, outcome in ended:
            entry = self._states.find(request.caller, request.id)
            if entry is None or entry.digest.hex() != request.digest:
                continue
            data = outcomes.describe(request, outcome)
            ends.append(writing.End(entry, data, outcomes.describe_failure(outcome)))
            told.setdefault(entry, outcome.kept(request))
        for end in self._end_all(ends):
            self._call_waiting(end.entry, told[end.entry])

    def end(
        self, entry: states.Entry, data: dict[str, Any], failure: dict[str, Any] | None
    ) -> None:
        """Keep the outcome of a command that cannot be finished; does not wait.

        :meth:`sync` will see to it that the disk has it; repeats do not wait for that.

        :param data: and the other are those of :mod:`guestagent.agent.outcomes`.
        """
        self._end_all([writing.End(entry, data, failure)], wait=False)

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
        self._writer.late.append(entry)
        now = time.monotonic()
        if self._states.promised and now - self._noted < NOTE_INTERVAL:
            return  # what is in flight takes it along when it ends
        if self._lock.acquire(blocking=False):
            self._noted = now
            try:
                if not self._closed:
                    self._writer.write_late()
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

    def _enter_all(
        self,
        encoded: Mapping[requests.Request, bytes],
        found: dict[requests.Request, states.Known | Exception],
        entered: dict[requests.Request, states.Entry],
    ) -> int | None:
        """Write what is new; return the ticket for it, ``None``: the file is broken."""
        broken = self._file.broken
        for request, record in encoded.items():
            try:
                known = self._known(request)
                if known is not None:
                    found[request] = known
                elif not broken:
                    entered[request] = self._writer.enter(request, record)
            except (errors.IdReused, errors.StorageError, ValueError) as error:
                found[request] = error
        if broken:
            return 0 if len(found) == len(encoded) else None
        try:
            self._writer.flush()
        except errors.StorageError:
            for entry in entered.values():
                self._states.remove(entry)
            raise
        return self._commits.ticket()

    def _write_ends(self, ends: Iterable[writing.End]) -> tuple[list[writing.End], int]:
        """Write outcomes; return the new ones, and the ticket for them."""
        new, taken = [], []
        for end in ends:
            if end.entry.state == states.ACCEPTED and end.entry in self._states:
                new.append(end)
                if self._writer.end(end):
                    taken.append(end)
        try:
            self._writer.flush()
        except errors.StorageError as error:
            self._writer.keep_in_memory(taken, error)
        return new, self._commits.ticket()

    # Not in the lock

    def _end_all(
        self, ends: Iterable[writing.End], wait: bool = True
    ) -> list[writing.End]:
        """Keep outcomes; return those of commands that had none before.

        A disk that does not take them is logged: they stay in memory.
        """
        with self._lock:
            new, ticket = self._write_ends(ends)
            written = [end for end in new if end.entry.unsaved is None]
            if not wait:
                for end in new:
                    end.entry.waiting = None
        if wait and written:
            try:
                self._commits.wait(ticket)
            except errors.StorageError as error:
                with self._lock:
                    self._writer.keep_in_memory(written, error)
        self._look_at_waste()
        return new

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

    def _forget(
        self, entered: Mapping[requests.Request, states.Entry], error: Exception
    ) -> None:
        """Forget commands that the disk may not have."""
        with self._lock:
            for entry in entered.values():
                self._states.remove(entry)
        for entry in entered.values():
            self._call_waiting(entry, requests.Outcome(requests.FAILED, error=error))

    def _look_at_waste(self) -> None:
        waste = self._file.size - self._states.size
        if waste <= max(WASTE_MAX, self._states.size):
            return
        if self._file.broken or self._file.held:
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
            self._file, self._lock, self._states, self._writer.late, self._first, turn
        )


def _sensible(read: Callable[[bytes], Any], record: bytes) -> Any:
    try:
        return read(record)
    except ValueError as error:
        raise errors.StorageError(f'a record of the journal: {error}') from error
