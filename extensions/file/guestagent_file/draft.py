# SPDX-License-Identifier: Apache-2.0
"""A file that nobody sees until it is whole, and then takes its place at once."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import NamedTuple

from guestagent_file import failures, jail

#: The names of files that are on their way to another name begin so.
PREFIX = '.guestagent-file-'

#: What a new file may be used for unless the caller says otherwise.
PERMISSIONS = 0o644

#: A file system that has no files without a name says one of these.
_NAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


class Settings(NamedTuple):
    """What is set of a file; ``None``: as it was, or as is usual for a new one.

    :ivar modified: nanoseconds since 1970.
    """

    permissions: int | None = None
    user: int | None = None
    group: int | None = None
    modified: int | None = None


class Draft:
    """A file to be, in the folder where it will be; without a name where that can be.

    :ivar descriptor: to read and write.
    :raises guestagent.errors.InvalidArgument: what is there is no plain file.
    :raises OSError: it cannot be made.
    """

    def __init__(self, place: jail.Place) -> None:
        if place.found is not None and not stat.S_ISREG(place.found.st_mode):
            raise not_plain(place.path, place.found.st_mode)
        if place.name == '.':
            raise not_plain(place.path, stat.S_IFDIR)
        self._name = place.name
        self._folder = os.open(
            '.', os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.folder
        )
        self._own = PREFIX + os.urandom(8).hex()
        self._named = False
        try:
            self.descriptor = self._make()
        except OSError:
            os.close(self._folder)
            raise

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data``.

        :raises OSError: there is no room, or the device fails.
        """
        rest = memoryview(data)
        while rest:
            taken = os.pwrite(self.descriptor, rest, offset)
            offset += taken
            rest = rest[taken:]

    def commit(self, settings: Settings) -> None:
        """Let it take its place, on the disk; nobody sees anything in between.

        :raises OSError: it cannot; what was there stays.
        """
        self._set(settings)
        os.fsync(self.descriptor)
        if not self._named:
            os.link(
                f'/proc/self/fd/{self.descriptor}',
                self._own,
                dst_dir_fd=self._folder,
                follow_symlinks=True,
            )
            self._named = True
        os.rename(
            self._own, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder
        )
        self._named = False
        os.fsync(self._folder)

    def discard(self) -> None:
        """Close it; what has not taken its place is gone."""
        with contextlib.suppress(OSError):
            if self._named:
                os.unlink(self._own, dir_fd=self._folder)
        os.close(self.descriptor)
        os.close(self._folder)

    def sweep(self, age: float) -> None:
        """Remove what a crash has left in the folder so many seconds ago."""
        before = time.time() - age
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX) and entry.name != self._own:
                    with contextlib.suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(found.st_mode) and found.st_mtime < before:
                            os.unlink(entry.name, dir_fd=self._folder)

    def room(self) -> int:
        """Return how many bytes fit on the file system."""
        found = os.fstatvfs(self.descriptor)
        return found.f_bavail * found.f_frsize

    def _make(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open('.', flags | os.O_TMPFILE, 0o600, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in _NAMED:
                raise
        made = os.open(
            self._own, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder
        )
        self._named = True
        return made

    def _set(self, settings: Settings) -> None:
        """Set what the caller wants, and keep the rest of what is replaced."""
        try:
            old = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            old = None
        if old is not None and not stat.S_ISREG(old.st_mode):
            old = None
        own = os.fstat(self.descriptor)
        user = settings.user if settings.user is not None else old and old.st_uid
        group = settings.group if settings.group is not None else old and old.st_gid
        user = own.st_uid if user is None else user
        group = own.st_gid if group is None else group
        if (user, group) != (own.st_uid, own.st_gid):
            os.fchown(self.descriptor, user, group)
        permissions = settings.permissions
        if permissions is None:
            permissions = PERMISSIONS if old is None else stat.S_IMODE(old.st_mode)
        # After the owner, because a change of that clears some of them.
        os.fchmod(self.descriptor, permissions)
        if settings.modified is not None:
            os.utime(self.descriptor, ns=(settings.modified, settings.modified))


def not_plain(path: str, mode: int) -> Exception:
    """Return the error for what should be a plain file."""
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    return failures.invalid(f'{path!r} is no plain file', code)
