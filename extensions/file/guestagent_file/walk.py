# SPDX-License-Identifier: Apache-2.0
"""Resolve a path by hand, one descriptor for each folder on the way.

Each step opens one name in a folder that is open already and follows no link; links are
read and followed here.  ``..`` goes back to the folder through which it came, so what
others move meanwhile changes nothing.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import stat
from collections.abc import Callable

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

#: Returns the folder at which a full path begins, and the names that follow.
Enter = Callable[[str], tuple[str, list[str]]]


class Outside(Exception):
    """The path leads out of what is allowed."""


def parts(path: str) -> list[str]:
    """Return the names in a path, without those that mean nothing."""
    return [part for part in path.split('/') if part not in ('', '.')]


def open_folder(path: str, enter: Enter, links_max: int) -> int:
    """Open a folder, links followed, and return the descriptor (``O_PATH``).

    :param enter: says where a full path begins, also that of a link.
    :raises Outside: it leads out of where it began.
    :raises OSError: as open(2).
    """
    root, names = enter(path)
    stack = _Stack(root)
    try:
        waiting = collections.deque(names)
        while waiting:
            name = waiting.popleft()
            if name == '..':
                stack.back()
                continue
            target = stack.step(name)
            if target is None:
                continue
            links_max -= 1
            if links_max < 0:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            following = parts(target)
            if target.startswith('/'):
                root, following = enter(target)
                stack.restart(root)
            waiting.extendleft(reversed(following))
        return stack.take()
    finally:
        stack.close()


class _Stack:
    """The open folders from the first to where we are."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open = [os.open(root, _FOLDER)]

    def step(self, name: str) -> str | None:
        """Enter a folder; return the target if the name is that of a link."""
        descriptor = os.open(name, _STEP, dir_fd=self._open[-1])
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(mode):
                return self._target(descriptor)
            if not stat.S_ISDIR(mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            undo.pop_all()
        self._open.append(descriptor)
        return None

    def back(self) -> None:
        """Go back to the folder that we came from."""
        if len(self._open) > 1:
            os.close(self._open.pop())
        elif self._root != '/':
            raise Outside

    def restart(self, root: str) -> None:
        """Begin at another folder."""
        descriptor = os.open(root, _FOLDER)
        self.close()
        self._root, self._open = root, [descriptor]

    def take(self) -> int:
        """Return the descriptor of where we are; it is the caller's from now on."""
        return self._open.pop()

    def close(self) -> None:
        """Close all that is open."""
        while self._open:
            os.close(self._open.pop())

    def _target(self, link: int) -> str:
        target = os.readlink('', dir_fd=link)
        # A magic link leads to what its text only describes.
        if os.fstat(link).st_dev == _proc() and (
            target.startswith('/') or ':[' in target
        ):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return target


def _proc() -> int | None:
    """Return the device of /proc, if that is there."""
    try:
        return os.stat('/proc/self').st_dev
    except OSError:
        return None
