# SPDX-License-Identifier: Apache-2.0
"""Keep out, or put off, what a library imports and this process does not need.

An agent's memory is paid in every guest: oslo.config imports netaddr and rfc3986 for
types of options that the agent has not, and oslo.messaging imports eventlet wherever
it is installed.  Both functions must be called before the library is imported.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType


class _Refuser(importlib.abc.MetaPathFinder):
    """Makes modules look as if they were not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None,
                  target: ModuleType | None = None,
                  ) -> importlib.machinery.ModuleSpec | None:
        """Raise for the refused names, and leave all others to the next finder."""
        if name in self._names:
            raise ModuleNotFoundError(f'{name} is kept out of this process', name=name)
        return None


def refuse(*names: str) -> None:
    """Let an import of these top-level modules fail, as if they were missing."""
    sys.meta_path.insert(0, _Refuser(frozenset(names)))


def defer(*names: str) -> None:
    """Load these modules at the first use of one of their attributes.

    A name that is not installed, or is loaded already, is passed over.
    """
    for name in names:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            continue
        loader = importlib.util.LazyLoader(spec.loader)
        spec.loader = loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loader.exec_module(module)
