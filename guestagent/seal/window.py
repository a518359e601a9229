# SPDX-License-Identifier: Apache-2.0
"""What tells a command that came before from a new one; no I/O and no clock.

Each caller has a clock of its own here: the guest's, but never further behind the
highest stamp that was accepted from this caller than clocks may differ.  So a clock
that is set back lets nothing in again, and a caller whose clock is ahead spoils
nobody's.  A command is new if its nonce is not among those remembered and its stamp
lies above the *floor*, below which nothing is remembered.  Commands that somebody waits
for (*calls*) and others (*casts*, which may wait in a queue for an agent that is away)
have floors of their own: a call that is refused for its stamp is sealed anew by its
caller, with the guest's clock.
"""

from __future__ import annotations

import enum
import operator
import struct
from collections.abc import Iterator
from typing import NamedTuple

#: How many nonces of each caller, and of calls and casts each, are remembered.
REMEMBERED = 10000

#: Above any time; and what a floor may be, which is a time and a margin.
_LAST, _FLOOR_MAX = 2**53, 2**62

_ENTRY = struct.Struct('>cBQQ24s')
_FLOOR = struct.Struct('>cBQQ')


class Verdict(enum.Enum):
    """What is to be done with a command."""

    FRESH = 'fresh'
    REPEATED = 'repeated'
    EXPIRED = 'expired'
    #: To be refused, with the guest's clock.
    SKEWED = 'skewed'


class Limits(NamedTuple):
    """In milliseconds.

    :ivar age: how long before its expiry a command may have been sealed at most.
    :ivar skew: by how much clocks may differ.
    """

    age: int
    skew: int


class Seal(NamedTuple):
    """What the window looks at; the names are those of ``contents.Command``.

    :ivar timeless: whether it may come late: then only its nonce counts.
    """

    caller: str
    waits: bool
    nonce: bytes
    stamp: int
    expiry: int
    epoch: str = ''
    timeless: bool = False


class _Lane:
    """The calls, or the casts, of one caller."""

    __slots__ = ('floor', 'highest', 'seen')

    def __init__(self) -> None:
        self.floor = -1
        self.highest = -1
        #: (stamp, expiry) by nonce.
        self.seen: dict[bytes, tuple[int, int]] = {}

    def forget(self) -> None:
        """Forget the older half, and let nothing in that is as old."""
        stamps = sorted(self.seen.items(), key=operator.itemgetter(1))
        for nonce, (stamp, _) in stamps[: len(stamps) // 2]:
            del self.seen[nonce]
            self.floor = max(self.floor, stamp)


class Window:
    """The window of one guest.

    :ivar epoch: a text that each command must carry, new whenever the guest has gone
        on from a snapshot; ``''``: it never has.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lanes: dict[tuple[str, bool], _Lane] = {}
        # Floors of callers that are not known yet, of casts and of calls.
        self._floors = {False: -1, True: -1}
        self.epoch = ''

    def clock(self, caller: str, now: int) -> int:
        """Return the time as it counts for a caller."""
        skew = self._limits.skew
        for waits in (False, True):
            lane = self._lanes.get((caller, waits))
            # Above the floor too: else nothing sealed by this clock got in.
            if lane is not None:
                now = max(now, lane.highest - skew, lane.floor + 1)
            else:
                now = max(now, self._floors[waits] + 1)
        return now

    def judge(self, seal: Seal, now: int) -> Verdict:
        """Return what is to be done with a command; what is fresh is remembered."""
        lane = self._lane(seal.caller, seal.waits)
        verdict = Verdict.FRESH
        if seal.nonce in lane.seen:
            return Verdict.REPEATED
        if not seal.timeless:
            verdict = self._judge_time(seal, now)
        if verdict is Verdict.FRESH and seal.stamp <= lane.floor:
            verdict = Verdict.SKEWED
        if verdict is Verdict.FRESH:
            self._remember(lane, seal)
        return verdict

    def _judge_time(self, seal: Seal, now: int) -> Verdict:
        clock = self.clock(seal.caller, now)
        apart = abs(seal.stamp - clock) > self._limits.skew
        if seal.expiry - seal.stamp > self._limits.age:
            return Verdict.EXPIRED
        if seal.expiry < clock:
            # Either it has waited too long or the clocks differ; who waits is told.
            return Verdict.SKEWED if apart and seal.waits else Verdict.EXPIRED
        if seal.epoch != self.epoch or (seal.stamp > clock and apart):
            return Verdict.SKEWED
        return Verdict.FRESH

    def start(self, now: int, margin: int = 0, damaged: bool = False) -> None:
        """Begin after a restart: calls that waited for it are to be sealed anew.

        :param margin: what may have been forgotten, in milliseconds after the highest
            stamp that is known.
        :param damaged: whether anything may have been: then so are casts.
        """
        for waits in (False, True) if damaged else (True,):
            self._floors[waits] = max(self._floors[waits], now)
        for (caller, waits), lane in self._lanes.items():
            if margin and lane.highest >= 0:
                lane.floor = max(lane.floor, lane.highest + margin)
            if waits or damaged:
                lane.floor = max(lane.floor, self.clock(caller, now) - 1)

    def renew(self, epoch: str) -> None:
        """Begin an epoch: nothing that was sealed before gets in any more."""
        self.epoch = epoch

    # What is kept on the disk

    def records(self) -> Iterator[bytes]:
        """Return records from which :meth:`replay` makes the same window."""
        yield b'E' + self.epoch.encode()
        for waits, floor in self._floors.items():
            yield _FLOOR.pack(b'D', waits, floor + 1, 0)
        for (caller, waits), lane in self._lanes.items():
            name = caller.encode()
            yield _FLOOR.pack(b'F', waits, lane.floor + 1, lane.highest + 1) + name
            for nonce, (stamp, expiry) in lane.seen.items():
                yield _ENTRY.pack(b'N', waits, stamp, expiry, nonce) + name

    @staticmethod
    def record(seal: Seal) -> bytes:
        """Return the record of a command that was fresh."""
        name = seal.caller.encode()
        return _ENTRY.pack(b'N', seal.waits, seal.stamp, seal.expiry, seal.nonce) + name

    def replay(self, record: bytes) -> None:
        """Take a record.

        :raises ValueError: it is none.
        """
        kind = record[:1]
        try:
            if kind == b'N':
                _, waits, stamp, expiry, nonce = _ENTRY.unpack_from(record)
                _check(stamp, expiry)
                caller = record[_ENTRY.size :].decode()
                seal = Seal(caller, bool(waits), nonce, stamp, expiry)
                self._remember(self._lane(caller, seal.waits), seal)
            elif kind == b'F':
                _, waits, floor, highest = _FLOOR.unpack_from(record)
                # One more than what it stands for, so that it is never below 0.
                _check(highest, last=_LAST + 1)
                _check(floor, last=_FLOOR_MAX)
                lane = self._lane(record[_FLOOR.size :].decode(), bool(waits))
                lane.floor = max(lane.floor, floor - 1)
                lane.highest = max(lane.highest, highest - 1)
            elif kind == b'D':
                _, waits, floor, _ = _FLOOR.unpack(record)
                _check(floor, last=_FLOOR_MAX)
                self._floors[bool(waits)] = max(self._floors[bool(waits)], floor - 1)
            elif kind == b'E':
                self.epoch = record[1:].decode()
            else:
                raise ValueError(f'a record of the kind {kind!r}')
        except struct.error as error:
            raise ValueError(str(error)) from None

    def __len__(self) -> int:
        return sum(len(lane.seen) for lane in self._lanes.values())

    def _lane(self, caller: str, waits: bool) -> _Lane:
        lane = self._lanes.get((caller, waits))
        if lane is None:
            lane = self._lanes[caller, waits] = _Lane()
            lane.floor = self._floors[waits]
        return lane

    @staticmethod
    def _remember(lane: _Lane, seal: Seal) -> None:
        lane.seen[seal.nonce] = (seal.stamp, seal.expiry)
        lane.highest = max(lane.highest, seal.stamp)
        if len(lane.seen) > REMEMBERED:
            lane.forget()


def _check(*times: int, last: int = _LAST) -> None:
    """Refuse what is later than any time.

    :raises ValueError: one is.
    """
    if max(times) > last:
        raise ValueError('a record with a time that cannot be')
