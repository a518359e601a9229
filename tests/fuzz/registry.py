# SPDX-License-Identifier: Apache-2.0
"""What is fed with hostile input, and what must hold whatever comes.

A target is a function marked in one of the modules ``targets``.  It takes bytes and
raises if a promise is broken.  Its seeds are good input, of which bad input is made;
what else is worth trying stands in ``corpus/NAME``.
"""

from __future__ import annotations

import importlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

_HERE = pathlib.Path(__file__).parent

Function = Callable[[bytes], None]


class Target(NamedTuple):
    """One thing that reads what others wrote."""

    function: Function
    seeds: Callable[[], list[bytes]]

    @property
    def corpus(self) -> pathlib.Path:
        """The folder of what is kept for it in the tree; it need not be there."""
        return _HERE / 'corpus' / self.function.__name__

    def inputs(self) -> list[bytes]:
        """Return its seeds, and what is kept for it in the tree."""
        kept = sorted(self.corpus.iterdir()) if self.corpus.exists() else []
        return [*self.seeds(), *(path.read_bytes() for path in kept)]


_targets: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable[[Function], Function]:
    """Mark a function as a target with these seeds."""
    return target_of(lambda: list(seeds))


def target_of(seeds: Callable[[], list[bytes]]) -> Callable[[Function], Function]:
    """Mark a function as a target whose seeds are made when they are wanted."""

    def mark(function: Function) -> Function:
        _targets[function.__name__] = Target(function, seeds)
        return function

    return mark


def dump(found: Any) -> bytes:
    """Return a seed that is JSON."""
    return json.dumps(found).encode()


def load() -> dict[str, Target]:
    """Import the modules of targets and return what is in them, by name."""
    for path in sorted((_HERE / 'targets').glob('*.py')):
        importlib.import_module(f'tests.fuzz.targets.{path.stem}')
    return dict(_targets)
