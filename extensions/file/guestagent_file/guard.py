# SPDX-License-Identifier: Apache-2.0
"""What cannot be reached whatever is allowed: the agent's own, and what was denied.

A file is known by its number on its device, and by its folder's number and its name; so
it does not matter by which path, through which bind mount or hard link it is asked for.
What is a folder hides all that is in it.  The folders above cannot be moved or removed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence

#: Seconds for which what was looked up counts.
_FRESH = 1.0
#: How many files of each of the agent's own folders are known by their numbers.
_FILES_MAX = 10000

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

#: A device and a number on it.
_Identity = tuple[int, int]


class _Known:
    """What was looked up at one time."""

    def __init__(self) -> None:
        self.until = time.monotonic() + _FRESH
        self.hidden: set[_Identity] = set()
        self.names: set[tuple[_Identity, str]] = set()
        self.above: set[tuple[_Identity, str]] = set()

    def add(self, path: str) -> None:
        """Look a path up, by its name and by the place that links lead to."""
        for form in {os.path.normpath(path), os.path.realpath(path)}:
            parent, name = os.path.split(form)
            self._note(self.names, parent, name)
            with contextlib.suppress(OSError):
                self.hidden.add(_identity(os.stat(form)))
            while name:
                parent, name = os.path.split(parent)
                self._note(self.above, parent, name)

    def add_files(self, path: str) -> None:
        """Look up the files in a folder of the agent's own: they may be linked to."""
        # It may be a file, or not there.
        with contextlib.suppress(OSError):
            for _, _, files, folder in os.fwalk(path):
                for name in files[:_FILES_MAX]:
                    self._add_file(name, folder)

    def _add_file(self, name: str, folder: int) -> None:
        # Files come and go.
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            self.hidden.add(_identity(found))

    @staticmethod
    def _note(where: set[tuple[_Identity, str]], parent: str, name: str) -> None:
        with contextlib.suppress(OSError):
            where.add((_identity(os.stat(parent)), name))


class Guard:
    """Knows what is out of reach.

    :param own: tells the paths of what is the agent's own.
    :param denied: further paths.
    :raises ValueError: one of these is no full path.
    """

    def __init__(
        self, own: Callable[[], Iterable[str]], denied: Sequence[str] = ()
    ) -> None:
        for path in denied:
            if not path.startswith('/'):
                raise ValueError(f'denied_paths: {path!r} is not a full path')
        self._own = own
        self._denied = tuple(denied)
        self._known: _Known | None = None
        self._lock = threading.Lock()

    def holds(self, found: os.stat_result) -> bool:
        """Whether something is known to be out of reach by its number."""
        # A number that was free again may be another file's by now: look anew.
        return all(
            _identity(found) in self._look(anew).hidden for anew in (False, True)
        )

    def hides(
        self, folder: int, name: str, found: os.stat_result | None, moves: bool
    ) -> bool:
        """Whether a place is out of reach.

        :param folder: a descriptor of its folder.
        :param found: what is there, if something is.
        :param moves: whether it is to be renamed or removed.
        """
        known = self._look()
        if not known.names:
            return False
        if found is not None and self.holds(found):
            return True
        place = (_identity(os.fstat(folder)), name)
        if place in known.names or (moves and place in known.above):
            return True
        return any(above in known.hidden for above in _upwards(folder))

    def _look(self, anew: bool = False) -> _Known:
        known = self._known
        if not anew and known is not None and time.monotonic() < known.until:
            return known
        with self._lock:
            if not anew and self._known is not known and self._known is not None:
                return self._known  # another thread has looked meanwhile
            known = _Known()
            for path in self._own():
                known.add(path)
                known.add_files(path)
            for path in self._denied:
                known.add(path)
            self._known = known
        return known


def _upwards(folder: int) -> Iterable[_Identity]:
    """Yield the identity of a folder, and of those above it up to the root."""
    last: _Identity | None = None
    descriptor = os.dup(folder)
    try:
        while True:
            identity = _identity(os.fstat(descriptor))
            if identity == last:
                return
            yield identity
            last = identity
            above = os.open('..', _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = above
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino
