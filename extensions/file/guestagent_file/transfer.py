# SPDX-License-Identifier: Apache-2.0
"""Large files in parts: pushes into a guest, and pulls out of it.

The parts may come in any order, at the same time, and more than once.  A push is no
file before its end, and nothing is left of one that does not come to an end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from guestagent import errors
from guestagent_file import draft, failures, jail, summing, table


class Push(table.Held):
    """A file that comes in parts.

    :param size: how many bytes it will have.
    :param key: by which a caller that begins it again knows it.
    :raises guestagent.errors.InvalidArgument: what is there is no plain file.
    :raises OSError: it cannot be made, or there is no room for it.
    """

    kind = 'push'

    def __init__(
        self,
        caller: str,
        place: jail.Place,
        size: int,
        key: str,
        settings: draft.Settings,
    ) -> None:
        super().__init__(caller, place.path)
        self.size = size
        self.key = key
        self.settings = settings
        self._draft = draft.Draft(place)
        try:
            if self._draft.room() < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._summing = summing.Summing(self._draft.descriptor)
        except BaseException:
            self._draft.discard()
            raise

    def is_again(self, path: str, size: int, key: str) -> bool:
        """Whether this is what a caller begins again."""
        return bool(key) and (path, size, key) == (self.path, self.size, self.key)

    def sweep(self, age: float) -> None:
        """Remove what a crash has left in the folder."""
        self._draft.sweep(age)

    def take(self, offset: int, data: bytes) -> None:
        """Keep a part; one that came before is not written again.

        :raises guestagent.errors.InvalidArgument: it is not within the file.
        :raises OSError: there is no room.
        """
        end = offset + len(data)
        if offset < 0 or end > self.size:
            raise failures.invalid(
                f'bytes {offset} to {end} are not within {self.size}'
            )
        if data and not self._summing.has(offset, end):
            self._draft.write(data, offset)
            self._summing.passed(offset, data)

    def end(
        self, sha256: str | None, check: Callable[[], None], sure: Callable[[str], None]
    ) -> str:
        """Let the file take its place, and return its checksum.

        :param sha256: what it must be.
        :param sure: takes the checksum before the file takes its place.
        :raises guestagent.errors.InvalidArgument: parts are missing, or wrong.
        :raises OSError: it cannot take its place.
        """
        if self.size and not self._summing.has(0, self.size):
            raise failures.invalid(f'parts of {self.path!r} are missing', errno.ENODATA)
        found = self._summing.digest(self.size, check)
        if sha256 is not None and sha256 != found:
            raise failures.invalid(
                f'{self.path!r}: its checksum is {found}, not {sha256}', errno.EBADMSG
            )
        sure(found)
        self._draft.commit(self.settings)
        return found

    def describe(self, number: int) -> dict[str, Any]:
        """Return what a caller is told of it."""
        return {
            'push': number,
            'path': self.path,
            'size': self.size,
            'have': [list(part) for part in self._summing.ranges],
        }

    def close(self) -> None:
        """See the base class."""
        self._draft.discard()


class Pull(table.Held):
    """A file that goes in parts.

    :raises guestagent.errors.InvalidArgument: it is no plain file.
    """

    kind = 'pull'

    def __init__(self, caller: str, path: str, descriptor: int) -> None:
        super().__init__(caller, path)
        self._descriptor = descriptor
        self._found = os.fstat(descriptor)
        if not stat.S_ISREG(self._found.st_mode):
            os.close(descriptor)
            raise draft.not_plain(path, self._found.st_mode)
        self._summing = summing.Summing(descriptor)

    @property
    def size(self) -> int:
        """How many bytes it had when it was opened."""
        return self._found.st_size

    @property
    def version(self) -> str:
        """Changes whenever the file does."""
        return _version(self._found)

    def give(self, offset: int, count: int) -> bytes:
        """Return a part; what is behind the end is not there.

        :raises OSError: it cannot be read.
        """
        if offset < 0 or count < 0:
            raise failures.invalid(f'bytes {offset} and {count} more make no part')
        count = min(count, max(self.size - offset, 0))
        data = os.pread(self._descriptor, count, offset)
        if data:
            self._summing.passed(offset, data)
        return data

    def end(self, check: Callable[[], None]) -> str:
        """Return the checksum of the whole file.

        :raises guestagent.errors.GuestError: it was changed meanwhile.
        """
        found = self._summing.digest(self.size, check)
        if _version(os.fstat(self._descriptor)) != self.version:
            raise errors.GuestError(
                f'{self.path!r} was changed while it was pulled: '
                f'{os.strerror(errno.EAGAIN)}'
            )
        return found

    def describe(self, number: int) -> dict[str, Any]:
        """Return what a caller is told of it."""
        return {
            'pull': number,
            'path': self.path,
            'size': self.size,
            'permissions': stat.S_IMODE(self._found.st_mode),
            'modified': self._found.st_mtime_ns,
            'version': self.version,
        }

    def close(self) -> None:
        """See the base class."""
        os.close(self._descriptor)


def _version(found: os.stat_result) -> str:
    return f'{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}'
