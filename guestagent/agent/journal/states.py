# SPDX-License-Identifier: Apache-2.0
"""The commands that the journal knows, and how it stands with each; no I/O, no clock.

A command is *accepted*, then *ended*, then *delivered*: others have its outcome.  Only
what is delivered may be forgotten, the oldest first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent.journal import records

ACCEPTED, ENDED, DELIVERED = range(3)

#: Bytes that each command in flight is sure of for its outcome; a larger one is kept
#: where there is room, and without its result where there is not.
OUTCOME_RESERVE = 2048


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much is remembered.

    :ivar commands: how many at most.
    :ivar size: how many bytes their records may take.
    :ivar seconds: for how long, as far as the guest ran meanwhile.
    """

    commands: int
    size: int
    seconds: float


class Entry:
    """One command.

    :ivar born: when it was accepted, on a clock that never jumps; of what was there
        at the start, that.
    :ivar accepted: where the record of its acceptance stands; -1: nowhere.
    :ivar ended: where the record of its outcome stands; -1: nowhere (yet).
    :ivar unsaved: that record, if the disk did not take it.
    :ivar size: bytes of its records.
    :ivar waiting: who is to be called with its outcome; ``None``: it can be read.
    """

    __slots__ = (
        'accepted',
        'born',
        'caller',
        'digest',
        'ended',
        'id',
        'number',
        'size',
        'state',
        'unsaved',
        'waiting',
    )

    def __init__(
        self, number: int, caller: str, command_id: str, digest: str, born: float
    ) -> None:
        self.number = number
        self.caller = caller
        self.id = command_id
        self.digest = bytes.fromhex(digest)
        self.born = born
        self.state = ACCEPTED
        self.accepted = self.ended = -1
        self.size = 0
        self.unsaved: bytes | None = None
        self.waiting: list[Callable[[requests.Outcome], None]] | None = None


class Known:
    """A command that came before; see :class:`guestagent.agent.steps.Known`."""

    __slots__ = ('then',)

    def __init__(
        self, then: Callable[[Callable[[requests.Outcome], None]], None]
    ) -> None:
        self.then = then


class States:
    """All of them, by number and by (caller, id); the oldest first.

    :ivar size: bytes of all their records.
    :ivar promised: bytes that those in flight are sure of for their outcomes.
    :ivar strange: how many records made no sense when they were read.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._numbers: dict[int, Entry] = {}
        self._keys: dict[tuple[str, str], Entry] = {}
        self.size = self.promised = self.strange = 0
        self.next_number = 1

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._numbers.values())

    def __contains__(self, entry: Entry) -> bool:
        return self._numbers.get(entry.number) is entry

    def find(self, caller: str, command_id: str) -> Entry | None:
        """Return a command, or ``None``."""
        return self._keys.get((caller, command_id))

    def accept(
        self, caller: str, command_id: str, digest: str, place: int, size: int,
        now: float,
    ) -> Entry:  # fmt: skip
        """Take a new command, under :attr:`next_number`."""
        entry = Entry(self.next_number, caller, command_id, digest, now)
        entry.accepted = place
        self._add(entry, size)
        return entry

    def end(self, entry: Entry, place: int, size: int) -> None:
        """Note that a command has ended.

        :param place: of the record of its outcome; -1: it stands nowhere.
        """
        # Before the state, which others look at first.
        entry.ended = place
        if entry.state == ACCEPTED:
            entry.state = ENDED
            self.promised -= promise(entry.caller)
        self._grow(entry, size)

    def deliver(self, entry: Entry) -> bool:
        """Note that others have the outcome; return whether this is news."""
        if entry.state != ENDED:
            return False
        entry.state = DELIVERED
        return True

    def remove(self, entry: Entry) -> None:
        """Forget a command."""
        if entry not in self:
            return
        del self._numbers[entry.number]
        if self._keys.get((entry.caller, entry.id)) is entry:
            del self._keys[entry.caller, entry.id]
        self.size -= entry.size
        if entry.state == ACCEPTED:
            self.promised -= promise(entry.caller)

    def resize(self, entry: Entry, size: int) -> None:
        """Note how many bytes the records of a command take now."""
        self._grow(entry, size - entry.size)

    def make_room(self, size: int, now: float) -> None:
        """Forget what must be for one command more of so many bytes.

        :raises guestagent.errors.JournalFull: nothing more may be forgotten.
        """
        self._forget(1, size, now)
        if not self._fits(len(self) + 1, self.size + size):
            raise errors.JournalFull(
                f'the journal is full: of its {len(self)} commands ({self.size} '
                f'bytes) too many have outcomes that nobody has taken yet; repeat the '
                f'request later, or see [journal] in the configuration'
            )

    def replay(
        self, found: Iterable[tuple[int, bytes]], sizes: int, now: float
    ) -> None:
        """Take the records that were in the file at the start.

        :param found: (place, record) of each.
        :param sizes: what the file adds to the size of each record.
        """
        for place, record in found:
            try:
                self._take(place, record, len(record) + sizes, now)
            except (ValueError, TypeError, KeyError):
                self.strange += 1
        self._forget(0, 0, now)

    def _take(self, place: int, record: bytes, size: int, now: float) -> None:
        kind, number = records.head(record)
        if kind == records.INSTANCE:
            return
        self.next_number = max(self.next_number, number + 1)
        entry = self._numbers.get(number)
        if kind == records.ACCEPTED:
            entry = self._replayed(number, records.accepted(record), now)
            entry.accepted = place
            self._grow(entry, size)
        elif kind == records.ENDED:
            if entry is None:
                # The other record is lost; this one says enough.
                data, _ = records.ended(record)
                entry = self._replayed(
                    number,
                    records.Accepted(
                        data['caller'], data['command_id'], data['digest'],
                        data['command'], 0, None,
                    ),
                    now,
                )  # fmt: skip
            self.end(entry, place, size)
            entry.waiting = None
            if records.is_delivered(record):
                self.deliver(entry)
        elif entry is not None:
            self.deliver(entry)

    def _replayed(self, number: int, about: records.Accepted, now: float) -> Entry:
        entry = Entry(number, about.caller, about.id, about.digest, now)
        entry.waiting = []
        older = self._keys.get((about.caller, about.id))
        if older is not None:
            self.remove(older)
        self._add(entry, 0)
        return entry

    def _add(self, entry: Entry, size: int) -> None:
        self.next_number = max(self.next_number, entry.number + 1)
        self._numbers[entry.number] = entry
        self._keys[entry.caller, entry.id] = entry
        self.promised += promise(entry.caller)
        self._grow(entry, size)

    def _grow(self, entry: Entry, size: int) -> None:
        entry.size += size
        if entry in self:
            self.size += size

    def _forget(self, commands: int, size: int, now: float) -> None:
        """Forget what is too old, and of the rest the oldest until there is room."""
        forgotten = []
        count, total = len(self) + commands, self.size + size
        for entry in self:
            young = entry.born + self._bounds.seconds >= now
            if young and self._fits(count, total):
                break
            if entry.state == DELIVERED:
                forgotten.append(entry)
                count, total = count - 1, total - entry.size
        for entry in forgotten:
            self.remove(entry)

    def _fits(self, commands: int, size: int) -> bool:
        return commands <= self._bounds.commands and size <= self._bounds.size


def promise(caller: str) -> int:
    """Return the bytes that a command of this caller is sure of for its outcome."""
    return OUTCOME_RESERVE + 6 * len(caller)  # a character may take so many
