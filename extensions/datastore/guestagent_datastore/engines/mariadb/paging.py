# SPDX-License-Identifier: Apache-2.0
"""Parts of lists: one item more than asked for tells whether there are more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from guestagent_datastore import models

Item = TypeVar('Item')


def limited(statement: str, limit: int | None) -> str:
    """Return a statement that gives one row more than ``limit``."""
    return statement if limit is None else f'{statement} LIMIT {int(limit) + 1}'


def ordered(column: str) -> str:
    """Return a column of names as they are compared: letter by letter, each counts."""
    return f'CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin'


def page(
    items: Sequence[Item], limit: int | None, marker: Callable[[Item], str]
) -> models.Page[Item]:
    """Return at most ``limit`` of the items, and the marker if there are more."""
    if limit is None or len(items) <= limit:
        return models.Page(tuple(items))
    kept = tuple(items[:limit])
    return models.Page(kept, marker(kept[-1]))


def after(
    marker: str | None, include_marker: bool, column: str
) -> tuple[str, tuple[str, ...]]:
    """Return the condition for what follows a marker, and its value."""
    if marker is None:
        return 'TRUE', ()
    compare = '>=' if include_marker else '>'
    return f'{ordered(column)} {compare} %s', (marker,)
