# SPDX-License-Identifier: Apache-2.0
"""Find one entry point of the installed packages, without importlib.metadata.

That one imports the parsers of mail and of archives, more than two mebibytes that an
isolated extension would keep.  What it would find elsewhere than in folders on Python's
path is left to it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_FOLDERS = ('.dist-info', '.egg-info')


def load(group: str, name: str) -> Any:
    """Return what an entry point names, ``None`` where no package has it.

    :raises ImportError, AttributeError: it names what is not there.
    """
    value = find(group, name)
    if value is None:
        return None
    module, _, attributes = value.partition(':')
    found: Any = importlib.import_module(module)
    for part in filter(None, attributes.split('.')):
        found = getattr(found, part)
    return found


def find(group: str, name: str) -> str | None:
    """Return an entry point's value, as ``module:Class``; ``None``: there is none."""
    for text in _texts():
        value = _within(text, group, name)
        if value is not None:
            return value
    import importlib.metadata as metadata

    for entry in metadata.entry_points(group=group, name=name):
        return entry.value
    return None


def names(group: str) -> list[str]:
    """Return the names of all entry points of a group, sorted."""
    import importlib.metadata as metadata

    return sorted(metadata.entry_points(group=group).names)


def _texts() -> Iterator[str]:
    """Give what each installed package says of its entry points."""
    for path in sys.path:
        try:
            packages = [each for each in os.listdir(path) if each.endswith(_FOLDERS)]
        except OSError:
            continue
        for package in sorted(packages):
            try:
                with open(
                    os.path.join(path, package, 'entry_points.txt'), encoding='utf-8'
                ) as file:
                    yield file.read()
            except OSError:
                continue


def _within(text: str, group: str, name: str) -> str | None:
    section = ''
    for line in text.splitlines():
        line = line.strip()
        if line.startswith('['):
            section = line.strip('[]').strip()
        elif section == group:
            key, _, value = line.partition('=')
            if key.strip() == name:
                return value.partition('[')[0].strip()
    return None
