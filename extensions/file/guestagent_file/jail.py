# SPDX-License-Identifier: Apache-2.0
"""Find the place of a file without ever leaving the allowed folders.

A path becomes a :class:`Place`: a descriptor of the folder and a name in it.  All that
is done to a file is done through these two, so it does not matter what others rename or
link meanwhile.  Folders are opened by openat2, which resolves a path within a folder in
the kernel; where the kernel has none, or an absolute link leads to another allowed
folder, :mod:`guestagent_file.walk` goes step by step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from guestagent_file import failures, guard, walk

#: As many links as the kernel follows in one path.
LINKS_MAX = 40

_RETRIES = 8
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Place:
    """Where a path leads to.

    :ivar path: as the caller wrote it, for messages.
    :ivar folder: a descriptor of the folder (``O_PATH``).
    :ivar name: in that folder; ``.``: the folder itself.
    :ivar found: what is there, links not followed; ``None``: nothing is.
    """

    __slots__ = ('folder', 'found', 'name', 'path')

    def __init__(
        self, path: str, folder: int, name: str, found: os.stat_result | None
    ) -> None:
        self.path = path
        self.folder = folder
        self.name = name
        self.found = found

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open it, and return the descriptor; never a link, never waiting.

        :raises OSError: as open(2).
        """
        always = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(self.name, flags | always, mode, dir_fd=self.folder)


class Jail:
    """The folders within which files may be reached.

    :param allowed: their full paths.
    :param denied: what is out of reach, whatever is allowed.
    :param kernel: whether openat2 is used, where there is one.
    :raises ValueError: one is no full path.
    """

    def __init__(
        self, allowed: Sequence[str], denied: guard.Guard, kernel: bool = True
    ) -> None:
        for root in allowed:
            if not root.startswith('/') or '..' in root.split('/'):
                raise ValueError(
                    f'allowed_paths: {root!r} is not the full path of a folder'
                )
        # The longest first: it is the one that a path is within.
        self._roots = sorted(map(walk.parts, allowed), key=len, reverse=True)
        self._guard = denied
        self._kernel: bool | None = None if kernel else False

    @contextlib.contextmanager
    def find(
        self, path: str, follow: bool = True, moves: bool = False
    ) -> Iterator[Place]:
        """Find a place; its folder stays open within the ``with`` block.

        :param follow: whether a link at the end is followed, as it is at open(2).
        :param moves: whether it is to be renamed or removed.
        :raises guestagent.errors.Refused: it is out of reach.
        :raises guestagent.errors.InvalidArgument: it is no full path.
        :raises OSError: a folder on the way is not there, or is none.
        """
        text = _checked(path)
        for _ in range(LINKS_MAX):
            parent, name = _split(text)
            if not self._enter_exactly(text):
                folder = self._open_folder(path, parent)
            else:
                folder, name = self._open_folder(path, text), '.'
            try:
                found = self._look(path, folder, name, moves)
                if not (follow and found and stat.S_ISLNK(found.st_mode)):
                    yield Place(path, folder, name, found)
                    return
                target = os.readlink(name, dir_fd=folder)
            finally:
                os.close(folder)
            text = os.path.join(parent, target)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def check(self, path: str, descriptor: int) -> None:
        """Look at what was opened: it may have been replaced since it was found.

        :raises guestagent.errors.Refused: it is out of reach.
        """
        if self.hides(os.fstat(descriptor)):
            raise failures.refused(f'{path!r} is out of reach')

    def hides(self, found: os.stat_result) -> bool:
        """Whether something is known to be out of reach by its number."""
        return self._guard.holds(found)

    def _look(
        self, path: str, folder: int, name: str, moves: bool
    ) -> os.stat_result | None:
        """Return what is there, if that may be known."""
        found: os.stat_result | None
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            found = None
        if self._guard.hides(folder, name, found, moves):
            raise failures.refused(f'{path!r} is out of reach')
        return found

    def _open_folder(self, path: str, text: str) -> int:
        """Open a folder by a path, links followed.

        :param path: what the caller wrote.
        """
        try:
            if self._has_kernel():
                for _ in range(_RETRIES):
                    with contextlib.suppress(BlockingIOError):
                        return self._ask_kernel(text)
        except OSError as error:
            # Out of the folder, perhaps by an absolute link into it.
            if error.errno != errno.EXDEV:
                raise
        try:
            return walk.open_folder(text, self._enter, LINKS_MAX)
        except walk.Outside:
            raise failures.refused(
                f'{path!r} is outside of [file] allowed_paths'
            ) from None

    def _has_kernel(self) -> bool:
        if self._kernel is None:
            from guestagent_file import openat2

            self._kernel = openat2.is_available()
        return self._kernel

    def _ask_kernel(self, text: str) -> int:
        from guestagent_file import openat2

        try:
            root, rest = self._enter(text)
        except walk.Outside:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None
        resolve = openat2.IN_ROOT if root == '/' else openat2.BENEATH
        top = os.open(root, _FOLDER)
        try:
            return openat2.open_beneath(
                top,
                os.fsencode('/'.join(rest) or '.'),
                _FOLDER,
                resolve | openat2.NO_MAGICLINKS,
            )
        finally:
            os.close(top)

    def _enter(self, text: str) -> tuple[str, list[str]]:
        """Return the allowed folder that a path names first, and what follows.

        :raises walk.Outside: it names none.
        """
        wanted = walk.parts(text)
        for root in self._roots:
            if wanted[: len(root)] == root:
                return '/' + '/'.join(root), wanted[len(root) :]
        raise walk.Outside

    def _enter_exactly(self, text: str) -> bool:
        """Whether a path is, by its name, an allowed folder itself, or ends in none."""
        wanted = walk.parts(text)
        return not wanted or wanted[-1] == '..' or wanted in self._roots


def _checked(path: str) -> str:
    if not path.startswith('/'):
        raise failures.invalid(f'{path!r} is not a full path')
    if '\0' in path:
        raise failures.invalid('a path must not contain NUL')
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise failures.invalid('a path is not valid Unicode') from None
    return path


def _split(text: str) -> tuple[str, str]:
    """Return the folder's path and the name in it."""
    parent, _, name = text.rstrip('/').rpartition('/')
    while name == '.':
        parent, _, name = parent.rstrip('/').rpartition('/')
    return parent or '/', name
