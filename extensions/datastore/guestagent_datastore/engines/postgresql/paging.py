# SPDX-License-Identifier: Apache-2.0
"""A part of a list that is in the order of its labels' bytes; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from guestagent import errors
from guestagent_datastore import models

Item = TypeVar('Item')


def comparison(include_marker: bool) -> str:
    """Return how a label of the page compares with the marker, in SQL."""
    return '>=' if include_marker else '>'


def rows(limit: int | None) -> int | None:
    """Return how many rows to ask for: one more tells whether there are more.

    :raises guestagent.errors.InvalidArgument: the limit makes no sense.
    """
    if limit is None:
        return None
    if limit < 1:
        raise errors.InvalidArgument(f'limit: {limit} is not 1 or more')
    return limit + 1


def page(
    items: Sequence[Item], limit: int | None, label: Callable[[Item], str]
) -> models.Page[Item]:
    """Return the page of what was found, which may be one too many."""
    if limit is None or len(items) <= limit:
        return models.Page(tuple(items))
    kept = tuple(items[:limit])
    return models.Page(kept, label(kept[-1]))
