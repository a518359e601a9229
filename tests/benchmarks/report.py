# SPDX-License-Identifier: Apache-2.0
"""Rows: a figure of ours, a peer's, the target, and whether it is reached; no I/O."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

OURS = 'ours'
REACHED, MISSED = 'reached', 'missed'

_SIGNS = {'<=': lambda value, bound: value <= bound,
          '<': lambda value, bound: value < bound,
          '>=': lambda value, bound: value >= bound}


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

    def verdict(self, ours: float, ratio: float) -> str:
        """Return ``'reached'`` or ``'missed'``."""
        value = ratio if self.of == 'ratio' else ours
        return REACHED if _SIGNS[self.sign](value, self.bound) else MISSED


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table and one object of ``build/bench.json``.

    ``ratio`` is the median of the ratios within each round, not the ratio of the
    medians: what slows the whole machine for a second then counts on neither side.
    """

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: Target
    note: str

    @property
    def verdict(self) -> str:
        """``'reached'`` or ``'missed'``."""
        return self.target.verdict(self.ours, self.ratio)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``build/bench.json`` holds of the row."""
        return {'name': self.name, 'ours': round(self.ours, 4),
                'peer': round(self.peer, 4), 'unit': self.unit,
                'ratio': round(self.ratio, 4), 'target': str(self.target),
                'verdict': self.verdict, 'note': self.note}


def compare(name: str, peer: str, samples: Mapping[str, Sequence[float]], unit: str,
            target: Target, note: str = '') -> Row:
    """Make the row ``<name>-<peer>`` of figures taken in the same rounds.

    :param samples: for ``'ours'`` and the peer one figure for each round.
    :raises ValueError: a round lacks one of the two.
    """
    pairs = list(zip(samples[OURS], samples[peer], strict=True))
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    spread = spread_of(ratios)
    said = f'{len(pairs)} rounds' + (f', ratio {spread}' if spread else '')
    return Row(name=f'{name}-{peer}', unit=unit, target=target,
               ours=statistics.median(samples[OURS]),
               peer=statistics.median(samples[peer]),
               ratio=statistics.median(ratios) if ratios else float('inf'),
               note=f'{note}; {said}' if note else said)


def spread_of(ratios: Sequence[float]) -> str:
    """Return the quartiles as text, ``''`` where there are too few figures."""
    if len(ratios) < 3:
        return ''
    low, _, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return f'{low:.3f} to {high:.3f} (quartiles)'


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text, the notes below it."""
    head = ('name', 'ours', 'peer', 'unit', 'ratio', 'target', 'verdict')
    lines = [head, *((row.name, _figure(row.ours), _figure(row.peer), row.unit,
                      f'{row.ratio:.3f}', str(row.target), row.verdict)
                     for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ['  '.join(cell.ljust(width) for cell, width in zip(line, widths,
                                                               strict=True)).rstrip()
            for line in lines]
    text.insert(1, '  '.join('-' * width for width in widths))
    text += ['', *(f'{row.name}: {row.note}' for row in rows)]
    return '\n'.join(text)


def _figure(value: float) -> str:
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.4g}'
