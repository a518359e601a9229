# SPDX-License-Identifier: Apache-2.0
"""What sequences say: is one to be believed, and is something missing; no I/O."""

from __future__ import annotations

from collections.abc import Iterable

#: How far a sequence may be from the newest one and be believed by itself.
FAR = 1000

#: How many pieces with holes between them are remembered.
MOST_RANGES = 20


def judge(newest: int, candidate: int | None, sequence: int) -> tuple[bool, int | None]:
    """Return whether a report counts, and the candidate from now on.

    A guest that counts wrongly for once must not make all later reports old ones.  So
    what is :data:`FAR` ahead of the newest or behind it is a candidate, which counts
    for nothing until another report goes on from it: then the guest does count so.

    :param newest: the newest sequence that was believed; 0: none, and any is.
    :param candidate: the sequence that was not believed last.
    """
    if not newest or abs(sequence - newest) <= FAR:
        return True, None if sequence > newest else candidate
    if candidate is not None and 0 < sequence - candidate <= FAR:
        return True, None
    return False, sequence


class Ranges:
    """Which sequences were taken, as ranges.

    Where there are more than :data:`MOST_RANGES`, some in the middle are forgotten: a
    hole becomes larger, and never goes unnoticed.

    :param text: what ``str()`` of another gave, as ``'3-17,19-19'``.
    """

    def __init__(self, text: str | None = None) -> None:
        self._ranges: list[list[int]] = [
            [int(number) for number in piece.split('-')]
            for piece in (text or '').split(',')
            if piece
        ]

    def __str__(self) -> str:
        return ','.join(f'{first}-{last}' for first, last in self._ranges)

    @property
    def newest(self) -> int:
        """The largest sequence, 0 if there is none."""
        return self._ranges[-1][1] if self._ranges else 0

    def add(self, sequence: int) -> None:
        """Take a sequence."""
        if self._ranges and self._ranges[-1][1] + 1 == sequence:
            self._ranges[-1][1] = sequence
            return
        self._ranges = list(_joined(sorted([*self._ranges, [sequence, sequence]])))
        if len(self._ranges) > MOST_RANGES:
            del self._ranges[1]

    def begin(self, sequence: int) -> None:
        """Forget all before ``sequence``, which is one of them."""
        self._ranges = [
            [max(first, sequence), last]
            for first, last in self._ranges
            if last >= sequence
        ]

    def unbroken(self, first: int) -> bool:
        """Whether they are one piece that begins with ``first``."""
        return len(self._ranges) == 1 and self._ranges[0][0] == first


def _joined(ranges: Iterable[list[int]]) -> Iterable[list[int]]:
    """Join sorted ranges that touch or overlap."""
    before: list[int] | None = None
    for each in ranges:
        if before is not None and each[0] <= before[1] + 1:
            before[1] = max(before[1], each[1])
            continue
        if before is not None:
            yield before
        before = each
    if before is not None:
        yield before
