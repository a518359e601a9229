# SPDX-License-Identifier: Apache-2.0
"""The numbers in facts, by name, as series and Prometheus's page show them; no I/O.

A number has the name of its fact and the keys that lead to it:
``monitoring.memory.available``.  The items of a list have names, too.
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

#: The facts whose numbers are shown, unless an operator names others.
FACTS = (
    'monitoring.load',
    'monitoring.cpu_usage',
    'monitoring.memory',
    'monitoring.swap',
    'monitoring.memory_rates',
    'monitoring.traffic',
    'monitoring.filesystems',
    'monitoring.statistics.*',
)
#: The longest name of a number, and how many one fact may have.
NAME_MAX = 255
NUMBERS_MAX = 100
#: Larger facts are not looked into.
TEXT_MAX = 256 * 1024
_DEPTH_MAX = 3
#: What names the items of a list.
_IDENTITIES = ('name', 'mount_point', 'id')


def is_wanted(fact: str, patterns: Sequence[str]) -> bool:
    """Whether a fact is among those that are named."""
    return any(fnmatch.fnmatchcase(fact, pattern) for pattern in patterns)


def numbers(fact: str, text: str) -> dict[str, float]:
    """Return the numbers of a fact, by name.

    :param text: the fact's value as JSON.
    """
    if len(text) > TEXT_MAX:
        return {}
    found = {}
    for name, number in _walk(fact, json.loads(text), 0):
        if len(name) <= NAME_MAX and name.isprintable():
            found[name] = number
        if len(found) == NUMBERS_MAX:
            break
    return found


def _walk(name: str, value: Any, depth: int) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A whole number may be larger than any that a database takes.
        if abs(value) < 1e300 and math.isfinite(value):
            yield name, float(value)
    elif depth < _DEPTH_MAX and isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f'{name}.{key}', item, depth + 1)
    elif depth < _DEPTH_MAX and isinstance(value, list):
        for item in value:
            called = _identity(item)
            if called is not None:
                yield from _walk(f'{name}.{called}', item, depth + 1)


def _identity(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    found = (item.get(key) for key in _IDENTITIES)
    return next((name for name in found if isinstance(name, str) and name), None)
