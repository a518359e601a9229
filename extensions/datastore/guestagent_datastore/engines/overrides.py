# SPDX-License-Identifier: Apache-2.0
"""Overrides that an engine keeps by the names that its server has for them; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guestagent_datastore import models


def forget(
    kept: dict[str, models.Value],
    names: Sequence[str] | None,
    check: Callable[[str], str],
) -> tuple[str, ...]:
    """Take these overrides, or all, from those that are kept.

    :param check: returns a name as it is kept.
    :returns: the names of those that were there.
    """
    chosen = list(kept) if names is None else map(check, names)
    forgotten = tuple(name for name in chosen if name in kept)
    for name in forgotten:
        # It may be named twice.
        kept.pop(name, None)
    return forgotten
