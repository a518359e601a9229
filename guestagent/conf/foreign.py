# SPDX-License-Identifier: Apache-2.0
"""Configuration files that another control plane writes for its own agent.

Who speaks their language is found by the name of one of them: a function with an entry
point of that name in the group ``guestagent.foreign_files``.  It is given what stands
in that file and in the others of its folder, and says in this project's options what
they say.  Names that are unknown there are not mistakes; what is not honoured is a
warning.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from oslo_config import cfg

GROUP = 'guestagent.foreign_files'

#: The files of this project, which need not be looked for.
OWN = frozenset(('agent.conf', 'conductor.conf', 'guestctl.conf'))

#: (section or ``None`` for DEFAULT, name of an option as ``dest``): value.
Values: TypeAlias = Mapping[tuple[str | None, str], Any]


class Setting(NamedTuple):
    """An option in a file.

    :ivar section: as it is written there.
    :ivar values: as text, one for each time that it stands there.
    """

    file: str
    section: str
    name: str
    values: list[str]


class Reading(NamedTuple):
    """What the files say, in this project's options.

    :ivar values: whatever else says of them.
    :ivar defaults: unless the operator has set them.
    :ivar warnings: one line for each option that is not honoured.
    """

    values: Values
    defaults: Values
    warnings: Sequence[str]


Reader: TypeAlias = Callable[[Sequence[Setting]], Reading]


class Found(NamedTuple):
    """The files of another control plane.

    :ivar files: their paths.
    """

    files: frozenset[str]
    reading: Reading


def find(files: Sequence[str]) -> Found | None:
    """Return what is said by those of these files that are another's, if any are.

    :param files: their absolute paths, in the order in which they are read.
    """
    if all(os.path.basename(path) in OWN for path in files):
        return None
    readers = {
        entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)
    }
    for path in files:
        entry = readers.get(os.path.basename(path))
        if entry is not None:
            folder = os.path.dirname(path)
            theirs = [one for one in files if os.path.dirname(one) == folder]
            read: Reader = entry.load()
            return Found(frozenset(theirs), read(list(settings(theirs))))
    return None


def settings(files: Iterable[str]) -> Iterable[Setting]:
    """Return all that stands in files, in their order; none of one that has gone."""
    for file in files:
        sections: dict[str, dict[str, list[str]]] = {}
        try:
            cfg.ConfigParser(file, sections).parse()
        except OSError:
            continue
        for section, found in sections.items():
            for name, given in found.items():
                yield Setting(file, section, name, given)
