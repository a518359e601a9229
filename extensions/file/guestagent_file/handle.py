# SPDX-License-Identifier: Apache-2.0
"""An open file, read and written where its position is, or anywhere."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from guestagent_file import failures, jail, table

#: What the modes of fopen(3) are to open(2).
MODES = {
    'r': os.O_RDONLY,
    'w': os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    'a': os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    'r+': os.O_RDWR,
    'w+': os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    'a+': os.O_RDWR | os.O_CREAT | os.O_APPEND,
}

#: What ``whence`` is to lseek(2).
WHENCE = {'set': os.SEEK_SET, 'cur': os.SEEK_CUR, 'end': os.SEEK_END}

#: So much is read in one go: what is asked for need not be there.
_CHUNK = 4 * 1024 * 1024


class Handle(table.Held):
    """An open file; reads and writes never wait for one that is no plain file.

    :ivar mode: as that of fopen(3), without ``b``.
    """

    def __init__(self, caller: str, descriptor: int, path: str, mode: str) -> None:
        super().__init__(caller, path)
        self.descriptor = descriptor
        self.mode = mode

    def close(self) -> None:
        """See the base class."""
        os.close(self.descriptor)

    def read(self, count: int, offset: int | None) -> tuple[bytes, bool]:
        """Return up to ``count`` bytes, and whether the file ended before.

        :param offset: where; ``None``: at its position, which moves on.
        :raises OSError: it cannot be read.
        """
        found: list[bytes] = []
        while count:
            some = min(count, _CHUNK)
            try:
                if offset is None:
                    data = os.read(self.descriptor, some)
                else:
                    data = os.pread(self.descriptor, some, offset)
                    offset += len(data)
            except BlockingIOError:
                return b''.join(found), False
            if not data:
                return b''.join(found), True
            found.append(data)
            count -= len(data)
        return found[0] if len(found) == 1 else b''.join(found), False

    def write(self, data: bytes, offset: int | None) -> int:
        """Write, and return how many bytes were taken: all, of a plain file.

        :raises OSError: it cannot be written.
        """
        rest = memoryview(data)
        try:
            while rest:
                if offset is None:
                    taken = os.write(self.descriptor, rest)
                else:
                    taken = os.pwrite(self.descriptor, rest, offset)
                    offset += taken
                rest = rest[taken:]
        except BlockingIOError:
            pass  # a pipe that is full: who writes sees how much went in
        return len(data) - len(rest)

    def describe(self, number: int) -> dict[str, Any]:
        """Return what a caller is told of it."""
        return {'handle': number, 'path': self.path, 'mode': self.mode}


def open_file(
    place: jail.Place, mode: str, permissions: int | None, exclusive: bool
) -> int:
    """Open a file in a mode of :data:`MODES`, and return the descriptor.

    :param permissions: of a new file, whatever the umask; ``None``: 0666 less that.
    :raises guestagent.errors.InvalidArgument: it is a folder.
    :raises OSError: it cannot be opened.
    """
    flags = MODES[mode]
    if exclusive and not flags & os.O_CREAT:
        raise failures.invalid(f'exclusive: mode {mode!r} makes no file')
    created = False
    while True:
        try:
            descriptor = place.open(flags & ~os.O_CREAT)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
        else:
            if exclusive:
                os.close(descriptor)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            break
        try:
            descriptor = place.open(flags | os.O_EXCL, 0o666)
        except FileExistsError:
            continue  # another has made it meanwhile
        created = True
        break
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise failures.invalid(f'{place.path!r} is a folder', errno.EISDIR)
        if created and permissions is not None:
            os.fchmod(descriptor, permissions)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
