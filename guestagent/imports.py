# SPDX-License-Identifier: Apache-2.0
"""Keep out, or put off, what a library imports and this process does not need.

An agent's memory is paid in every guest: oslo.config imports netaddr and rfc3986 for
types of options that the agent has not, and oslo.messaging imports eventlet wherever
it is installed.  Both functions must be called before the library is imported.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType


class _Refuser:
    """Makes modules look as if they were not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Raise for the refused names, and leave all others to the next finder."""
        if name in self._names:
            raise ModuleNotFoundError(f'{name} is kept out of this process', name=name)
        return None


class _Deferrer:
    """Finds modules where they are, and loads them when they are first used.

    A finder, not entries in ``sys.modules``: an ``import`` of what is there already
    looks at an attribute of it, and so would load it.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own spec with a lazy loader."""
        if name not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def refuse(*names: str) -> None:
    """Let an import of these modules fail, as if they were not installed."""
    sys.meta_path.insert(0, _Refuser(frozenset(names)))


def defer(*names: str) -> None:
    """Load these modules at the first use of one of their attributes."""
    sys.meta_path.insert(0, _Deferrer(frozenset(names)))
