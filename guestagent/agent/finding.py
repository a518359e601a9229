# SPDX-License-Identifier: Apache-2.0
"""Find the installed extensions, by stevedore on a list of entry points.

The list is read here, so that each extension's distribution is known and no cache file
is written into a home folder.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

from stevedore import named

from guestagent import errors

GROUP = 'guestagent.extensions'


class Manager(named.NamedExtensionManager[Any]):
    """stevedore's manager on a list of entry points that was read already."""

    def __init__(
        self,
        names: list[str],
        found: list[importlib.metadata.EntryPoint],
        failed: Callable[[Any, Any, BaseException], None],
        group: str = GROUP,
    ) -> None:
        self._found = found
        super().__init__(
            group,
            names,
            name_order=False,
            on_load_failure_callback=failed,
            on_missing_entrypoints_callback=None,
        )

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        """Return the list that was given."""
        return self._found


def entry_points(group: str = GROUP) -> list[importlib.metadata.EntryPoint]:
    """Return a group's entry points; one that is found twice counts once.

    What was installed since the last look is found too.
    """
    importlib.invalidate_caches()
    found: dict[tuple[str, str, str], importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=group):
        owner = entry.dist.name if entry.dist is not None else ''
        found.setdefault((entry.name, entry.value, owner), entry)
    return list(found.values())


def refuse_conflicts(
    wanted: list[str],
    found: list[importlib.metadata.EntryPoint],
    what: str = 'extension',
) -> None:
    """Let no two distributions claim a name that is wanted.

    :raises guestagent.errors.ConfigError: two do.
    """
    for name in wanted:
        claims = [entry for entry in found if entry.name == name]
        if len(claims) > 1:
            both = ' and '.join(
                f'{entry.value} (of {entry.dist.name if entry.dist else "?"})'
                for entry in claims
            )
            raise errors.ConfigError(
                f'{what} {name!r} is claimed by {both}; uninstall one of them'
            )


def distribution(entry: importlib.metadata.EntryPoint) -> dict[str, str]:
    """Return what :class:`guestagent.agent.registry.Loaded` takes of whose it is."""
    if entry.dist is None:
        return {}
    return {'distribution': entry.dist.name, 'distribution_version': entry.dist.version}
