# SPDX-License-Identifier: Apache-2.0
"""Rows: a figure of ours, a peer's, the target, and whether it is reached; no I/O."""

import dataclasses
import operator
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

OURS = 'ours'
PEERS = ('A', 'B')
REACHED, MISSED = 'reached', 'missed'

_SIGNS = {'<=': operator.le, '<': operator.lt, '>=': operator.ge}


@dataclasses.dataclass(frozen=True)
class Target:
    """What a row must reach.

    :ivar of: ``'ratio'`` (ours / peer) or ``'ours'`` (our figure, in its unit).
    """

    of: Literal['ratio', 'ours']
    sign: Literal['<=', '<', '>=']
    bound: float

    def __str__(self) -> str:
        return f'{self.of} {self.sign} {self.bound:g}'

    def verdict(self, ours: float, ratio: float | None) -> str:
        """Return ``'reached'`` or ``'missed'``; a ratio that is not there misses."""
        value = ratio if self.of == 'ratio' else ours
        reached = value is not None and _SIGNS[self.sign](value, self.bound)
        return REACHED if reached else MISSED


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table and one object of ``build/bench.json``.

    ``ratio`` is the median of the ratios within each round, not the ratio of the
    medians: what slows the whole machine for a second then counts on neither side.
    It is ``None`` where the peer's figure is 0 in every round.
    """

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float | None
    target: Target
    note: str

    @property
    def verdict(self) -> str:
        """``'reached'`` or ``'missed'``."""
        return self.target.verdict(self.ours, self.ratio)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``build/bench.json`` holds of the row."""
        return {
            'name': self.name,
            'ours': round(self.ours, 4),
            'peer': round(self.peer, 4),
            'unit': self.unit,
            'ratio': None if self.ratio is None else round(self.ratio, 4),
            'target': str(self.target),
            'verdict': self.verdict,
            'note': self.note,
        }


def compare(
    name: str,
    peer: str,
    samples: Mapping[str, Sequence[float]],
    unit: str,
    target: Target,
    note: str = '',
) -> Row:
    """Make the row ``<name>-<peer>`` of figures taken in the same rounds.

    :param samples: for ``'ours'`` and the peer one figure for each round.
    :raises ValueError: a round lacks one of the two.
    """
    pairs = list(zip(samples[OURS], samples[peer], strict=True))
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    spread = spread_of(ratios)
    said = f'rounds: {len(pairs)}' + (f', ratio {spread}' if spread else '')
    return Row(
        name=f'{name}-{peer}',
        unit=unit,
        target=target,
        ours=statistics.median(samples[OURS]),
        peer=statistics.median(samples[peer]),
        ratio=statistics.median(ratios) if ratios else None,
        note=f'{note}; {said}' if note else said,
    )


def spread_of(ratios: Sequence[float]) -> str:
    """Return the quartiles as text, ``''`` where there are too few figures."""
    if len(ratios) < 3:
        return ''
    low, _, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return f'{low:.3f} to {high:.3f} (quartiles)'


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text, the notes below it."""
    lines = [('name', 'ours', 'peer', 'unit', 'ratio', 'target', 'verdict')]
    for row in rows:
        ratio = '-' if row.ratio is None else f'{row.ratio:.3f}'
        lines.append(
            (
                row.name,
                _figure(row.ours),
                _figure(row.peer),
                row.unit,
                ratio,
                str(row.target),
                row.verdict,
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_line(cells, widths) for cells in lines]
    text.insert(1, _line(['-' * width for width in widths], widths))
    text += ['', *(f'{row.name}: {row.note}' for row in rows)]
    return '\n'.join(text)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return '  '.join(padded).rstrip()


def _figure(value: float) -> str:
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.4g}'
