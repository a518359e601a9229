# SPDX-License-Identifier: Apache-2.0
"""Which events are new to who follows them, and what has changed among facts; no I/O.

An event's id is given when it is written, and it can be read when its transaction has
been committed.  Several conductors write at the same time, so an event may appear after
one with a higher id (doc/conductor.rst, "Following events").
"""

from collections.abc import Iterator, Mapping
from typing import Any

#: After so many seconds whatever was given an id before is committed, or never will be.
SETTLED_AFTER = 30.0
#: How often to look for what came late, in seconds.
LOOK_BACK_EVERY = 5.0


class Cursor:
    """Tells after which id to ask, and which of the answers are new.

    Each round is :meth:`begin`, :meth:`take` for each event, :meth:`end`.

    :param after: the id after which everything counts as new.
    """

    def __init__(
        self,
        after: int = 0,
        settled_after: float = SETTLED_AFTER,
        look_back_every: float = LOOK_BACK_EVERY,
    ) -> None:
        self._settled = self._last = after
        self._settled_after = settled_after
        self._look_back_every = look_back_every
        self._seen: dict[int, float] = {}
        self._looked_back = float('-inf')
        self._begun: float | None = None

    def begin(self, now: float) -> int:
        """Return the id to ask after.

        :param now: seconds of a clock that only goes forward.
        """
        if self._seen and now - self._looked_back >= self._look_back_every:
            self._begun = self._looked_back = now
            return self._settled
        self._begun = None
        return self._last

    def take(self, number: int, now: float) -> bool:
        """Return whether the event with this id is new."""
        if number <= self._settled or number in self._seen:
            return False
        self._seen[number] = now
        self._last = max(self._last, number)
        return True

    def end(self) -> None:
        """Note that the answer of this round was read to its end."""
        if self._begun is None:
            return
        # As of the beginning: what was committed after that may not have been read.
        old = self._begun - self._settled_after
        self._settled = max(
            (number for number, seen in self._seen.items() if seen <= old),
            default=self._settled,
        )
        self._seen = {
            number: seen
            for number, seen in self._seen.items()
            if number > self._settled
        }


def changes(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Return what differs between two answers of ``facts_get``, by key.

    :returns: ``{key, change: 'new' | 'changed' | 'removed', value, updated}``; what was
        removed has its last value, and ``updated`` is null.
    """
    for key in sorted(before.keys() | now.keys()):
        if key not in now:
            yield {'key': key, 'change': 'removed', **before[key], 'updated': None}
        elif key not in before:
            yield {'key': key, 'change': 'new', **now[key]}
        elif now[key] != before[key]:
            yield {'key': key, 'change': 'changed', **now[key]}
