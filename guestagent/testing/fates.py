# SPDX-License-Identifier: Apache-2.0
"""What becomes of a message on the scripted bus: a script is an iterator of these.

A script that has come to its end lets everything pass::

    agent.bus.requests.script = iter([fates.REPEAT, fates.LOSE])
    agent.bus.reports.script = fates.chance(seed=7, lose=0.1, repeat=0.1, hold=0.1)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from guestagent.bus import base


class Fate(NamedTuple):
    """What becomes of one message.

    :ivar copies: how many of it arrive.
    :ivar seconds: how late.
    :ivar held: whether it arrives behind the next one.
    :ivar refusal: of a report: what the broker says of it instead of taking it.
    """

    copies: int = 1
    seconds: float = 0.0
    held: bool = False
    refusal: base.Sent | None = None


PASS = Fate()
#: It does not arrive.  Of a report: the connection is lost before it does.
LOSE = Fate(copies=0)
#: It arrives twice.  Of a report: the connection is lost before it is confirmed.
REPEAT = Fate(copies=2)
#: It arrives behind the next one, or a little later if none comes.
HOLD = Fate(held=True)
#: Of a report: there is no queue for it.
RETURN = Fate(refusal=base.Sent.RETURNED)
#: Of a report: the queue is full.
REJECT = Fate(refusal=base.Sent.REJECTED)


def delay(seconds: float) -> Fate:
    """Return the fate of a message that is so many seconds late."""
    return Fate(seconds=seconds)


def chance(
    seed: int, *, lose: float = 0, repeat: float = 0, hold: float = 0, late: float = 0
) -> Iterator[Fate]:
    """Return an endless script that is the same for the same seed.

    :param lose: the share of the messages, 0 to 1, that have this fate; as are
        ``repeat``, ``hold`` and ``late`` (by up to 50 ms).
    """
    source = random.Random(seed)
    while True:
        dice = source.random()
        for share, fate in (
            (lose, LOSE),
            (repeat, REPEAT),
            (hold, HOLD),
            (late, delay(source.uniform(0, 0.05))),
        ):
            dice -= share
            if dice < 0:
                yield fate
                break
        else:
            yield PASS
