# SPDX-License-Identifier: Apache-2.0
"""The few calls that files of records make to the system, and what their errors say.

They stand apart so that a test can put another disk in their place: one that records
what was written and synced, and shows what a power cut could leave of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import BinaryIO

from guestagent import errors

#: There is no room: on the disk, in a quota, or within the limit for one file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AreaFull(OSError):
    """The area that stands in the place of a frozen disk is full."""

    def __init__(self, area: str) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.area = area


class _Urgency(threading.local):
    urgent = False


#: Whether what this thread writes may use the room that is kept back (``urgent``).
URGENCY = _Urgency()


class Disk:
    """Each method is one or two system calls and raises what they raise: OSError.

    :cvar held: whether something else stands in the place of the disk for a while, and
        what only makes a file smaller should wait.
    """

    held = False

    def read(self, path: str) -> bytes:
        """Return all that is in a file."""
        with open(path, 'rb') as file:
            return file.read()

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return os.path.exists(path)

    def stream(self, path: str) -> BinaryIO:
        """Return what reads a file from its beginning, to be closed."""
        return open(path, 'rb')

    def open(self, path: str) -> int:
        """Open a file that is there, to write and to read."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)

    def create(self, path: str) -> int:
        """Make an empty file that only its owner may read; open it."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Return how many bytes a file has."""
        return os.fstat(fd).st_size

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``; when it raises, a part may be there."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(fd, rest, offset)
            rest, offset = rest[written:], offset + written

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        """Return ``size`` bytes at ``offset``, less only at the end of the file."""
        return os.pread(fd, size, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """Have room for so many bytes at ``offset``; they read as zeros."""
        os.posix_fallocate(fd, offset, size)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file off there."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Have the disk hold what was written; returns when it does."""
        os.fdatasync(fd)

    def rename(self, old: str, new: str) -> None:
        """Put a file in the place of another, in one step."""
        os.rename(old, new)

    def sync_folder(self, path: str) -> None:
        """Have the disk hold the names in a folder."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: str) -> int:
        """Make a file and lock it, for as long as the descriptor is open.

        :raises BlockingIOError: another process holds it.
        """
        try:
            # To ask for it to be made would wait for a frozen disk though it is there;
            # and on some kernels so does to open it, unless it was looked up before.
            os.stat(path)
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd


def explain(error: OSError, path: str) -> errors.StorageError:
    """Return an error that says what is wrong with a file, and what to do."""
    if isinstance(error, AreaFull):
        return errors.DiskFull(
            f'the file system of {path} is frozen, and the area that stands in its '
            f'place is full ({error.area}): wait until it is thawed, or raise [freeze] '
            f'size'
        )
    if error.errno in FULL:
        return errors.DiskFull(
            f'there is no room for {path} ({error.strerror}): free some'
        )
    if error.errno == errno.EROFS:
        return errors.StorageError(
            f'{path} is on a read-only file system: have it mounted writable, or name '
            f'another folder'
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return errors.StorageError(
            f'{path} may not be written by user {os.geteuid()}: give it the right, or '
            f'name another folder'
        )
    return errors.StorageError(f'{path}: {error.strerror or error}')
