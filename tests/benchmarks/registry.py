# SPDX-License-Identifier: Apache-2.0
"""Which benchmarks there are: the functions marked in the modules ``bench_*``."""

import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.benchmarks import report

if TYPE_CHECKING:
    from tests.benchmarks import bed

Function = Callable[['bed.Bed'], Iterable[report.Row]]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A function that takes the bed and returns rows, and the rows' names.

    The rows are these with ``-A`` or ``-B``, the peer, behind.
    """

    names: tuple[str, ...]
    function: Function

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is one of its rows, with the peer or without."""
        return any(name in row_names(own) for own in self.names)


def row_names(name: str) -> tuple[str, ...]:
    """Return the names of the rows that ``name`` stands for."""
    return (name, *(f'{name}-{peer}' for peer in report.PEERS))


_benchmarks: list[Benchmark] = []


def benchmark(*names: str) -> Callable[[Function], Function]:
    """Mark a function as what measures these rows, in one go."""

    def mark(function: Function) -> Function:
        _benchmarks.append(Benchmark(names, function))
        return function

    return mark


def load() -> list[Benchmark]:
    """Import the modules ``bench_*`` and return what is in them, by module name."""
    for path in sorted(pathlib.Path(__file__).parent.glob('bench_*.py')):
        importlib.import_module(f'tests.benchmarks.{path.stem}')
    return list(_benchmarks)
