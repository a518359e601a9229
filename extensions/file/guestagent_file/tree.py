# SPDX-License-Identifier: Apache-2.0
"""Whole folders: listed in pages, made with those above, removed with all within."""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable
from typing import Any

from guestagent_file import about, failures, jail

#: So many folders deep things are removed: each takes one of the agent's descriptors.
DEPTH_MAX = 200

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def entries(
    place: jail.Place, after: str, limit: int, hides: Callable[[os.stat_result], bool]
) -> dict[str, Any]:
    """Return a page of a folder, by name.

    :param after: the name with which the page before has ended; ``''``: from the first.
    :param hides: whether something is out of reach.
    :raises OSError: it cannot be read.
    """
    folder = place.open(_FLAGS)
    try:
        with os.scandir(folder) as found:
            names = (entry.name for entry in found if entry.name > after)
            page = heapq.nsmallest(limit + 1, names)
        listed = []
        for name in page[:limit]:
            try:
                one = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # it went meanwhile
            if hides(one):
                continue
            about_one = {'name': name, **about.describe(one)}
            if stat.S_ISLNK(one.st_mode):
                about_one['target'] = _target(folder, name)
            listed.append(about_one)
    finally:
        os.close(folder)
    return {'entries': listed, 'next': page[limit - 1] if len(page) > limit else None}


def remove(
    place: jail.Place,
    hides: Callable[[os.stat_result], bool],
    check: Callable[[], None],
) -> int:
    """Remove what is at a place with all within, links as links; return how many.

    Nothing is opened but by its folder's descriptor and its name, so it stays within.

    :param hides: whether something is out of reach.
    :param check: called now and then; what it raises ends this.
    :raises guestagent.errors.Refused: something within is out of reach, and stays.
    :raises guestagent.errors.InvalidArgument: it is too deep.
    :raises OSError: something cannot be removed.
    """
    removed = 0
    # Each step: the folder it is in, its name, its own descriptor, the names within.
    steps = [_Folder(os.dup(place.folder), [place.name])]
    try:
        while steps:
            check()
            here = steps[-1]
            if not here.names:
                os.close(steps.pop().descriptor)
                if steps:
                    os.rmdir(steps[-1].names.pop(), dir_fd=steps[-1].descriptor)
                    removed += 1
                continue
            name = here.names[-1]
            found = os.stat(name, dir_fd=here.descriptor, follow_symlinks=False)
            if hides(found):
                raise failures.refused(f'{place.path!r} holds what is out of reach')
            if stat.S_ISDIR(found.st_mode):
                _check_depth(place.path, len(steps))
                steps.append(_open(here.descriptor, name))
            else:
                os.unlink(name, dir_fd=here.descriptor)
                here.names.pop()
                removed += 1
    finally:
        for step in steps:
            os.close(step.descriptor)
    return removed


def _check_depth(path: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise failures.invalid(
            f'{path!r} is more than {DEPTH_MAX} folders deep: remove what is far '
            f'within first',
            errno.ENAMETOOLONG,
        )


class _Folder:
    """An open folder, and the names in it that are still there."""

    __slots__ = ('descriptor', 'names')

    def __init__(self, descriptor: int, names: list[str]) -> None:
        self.descriptor = descriptor
        self.names = names


def _open(folder: int, name: str) -> _Folder:
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        return _Folder(descriptor, os.listdir(descriptor))
    except OSError:
        os.close(descriptor)
        raise


def _target(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None  # it went meanwhile
