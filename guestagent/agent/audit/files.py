# SPDX-License-Identifier: Apache-2.0
"""The files of the audit log: ``audit.log`` and the older ``audit.log.1``, ``.2``, ….

Each begins with a record that names the head before it, so what is left when the oldest
is removed can still be followed.  Not safe for threads.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from guestagent.agent import disk as disks
from guestagent.agent.audit import chain

LOG = logging.getLogger(__name__)

#: How many files there are at most.
COUNT = 4
#: The longest record, in bytes; what makes records keeps far below.
_LINE_MAX = 256 * 1024


class _Tail(NamedTuple):
    """How a file ends.

    :ivar whole: bytes up to the end of the last whole record.
    :ivar head: ``None``: its end makes no sense.
    """

    size: int
    whole: int
    head: chain.Head | None


class Files:
    """The log on the disk.

    :param path: of the newest file.
    :param size: bytes that all of them may take, about.
    """

    def __init__(self, path: str, size: int, disk: disks.Disk | None = None) -> None:
        self._path = path
        self._size = max(1, size // COUNT)
        self._disk = disk or disks.Disk()
        self._chain = chain.Chain()
        self._fd = -1
        self._end = 0

    @property
    def head(self) -> chain.Head:
        """Where the chain ends."""
        return self._chain.head

    def open(self) -> None:
        """Find the end of the chain; cut off what a crash has left half written.

        A file whose end makes no sense is kept under another name, and the chain goes
        on from an older one: the conductor notices that.

        :raises guestagent.errors.StorageError: the file cannot be used.
        """
        try:
            self._open()
        except OSError as error:
            raise disks.explain(error, self._path) from error

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write records, all in one.

        They are safe when what :meth:`syncer` then returns was called.

        :raises guestagent.errors.StorageError: they cannot be written, and none is
            there.
        """
        try:
            if self._fd < 0:
                self._open()
            if self._end >= self._size and not self._disk.held:
                self._rotate()
            self._write(records)
        except OSError as error:
            raise disks.explain(error, self._path) from error

    def syncer(self) -> Callable[[], None]:
        """Return what has the disk hold all that was appended so far.

        It may be called beside anything else, once, and raises as this does.

        :raises guestagent.errors.StorageError: the disk may not hold it.
        """
        try:
            # Whatever becomes of the file meanwhile.
            fd = os.dup(self._fd)
        except OSError as error:
            raise disks.explain(error, self._path) from error

        def sync() -> None:
            try:
                self._disk.sync(fd)
            except OSError as error:
                raise disks.explain(error, self._path) from error
            finally:
                self._disk.close(fd)

        return sync

    def lines(self, offset: int) -> Iterator[str]:
        """Return the lines of the records after the first ``offset`` of all.

        The first line is that of a file, unless the record after ``offset`` is there.

        :raises guestagent.errors.StorageError: they cannot be read.
        """
        try:
            found = [(self._first(path), path) for path in self._paths()]
            for index, (first, path) in enumerate(found):
                after = found[index + 1][0] if index + 1 < len(found) else None
                if after is not None and after <= offset + 1:
                    continue
                with self._lines(path) as file:
                    for number, line in enumerate(file, first):
                        if number > offset and line.endswith('\n'):
                            yield line[:-1]
        except OSError as error:
            raise disks.explain(error, self._path) from error

    def close(self) -> None:
        """Let go of the file; nothing is synced."""
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd = -1

    def _open(self) -> None:
        """Go on where the newest file ends."""
        for path in reversed(self._paths()):
            tail = self._tail(path)
            if tail.head is not None:
                self._chain.head = tail.head
                break
            if tail.size:
                LOG.error('%s makes no sense; it is kept as %s.damaged', path, path)
                self._disk.rename(path, f'{path}.damaged')
        else:
            path, tail = '', _Tail(0, 0, None)
        if path != self._path:
            self._create()
            return
        self._fd, self._end = self._disk.open(path), tail.whole
        if tail.size > tail.whole:
            LOG.warning('%s: the last record was not whole', path)
            self._disk.truncate(self._fd, tail.whole)

    def _tail(self, path: str) -> _Tail:
        """Return how a file ends."""
        fd = self._disk.open(path)
        try:
            size = self._disk.size(fd)
            start = max(0, size - _LINE_MAX)
            data = self._disk.read_at(fd, size - start, start)
        finally:
            self._disk.close(fd)
        whole, end, rest = data.rpartition(b'\n')
        try:
            head = chain.read(whole.rpartition(b'\n')[2].decode()).head
        except (chain.Broken, UnicodeDecodeError):
            # One half of the first line: nothing was ever safe.
            return _Tail(0 if not end and not start else size, 0, None)
        return _Tail(size, size - len(rest), head)

    def _create(self) -> None:
        """Begin a file."""
        self._fd, self._end = self._disk.create(self._path), 0
        try:
            self._write([{'kind': chain.BEGIN, 'prev': self._chain.head.digest}])
            self._disk.sync_folder(os.path.dirname(self._path) or '.')
        except OSError:
            self.close()
            raise

    def _rotate(self) -> None:
        """Go on in a new file; the oldest goes if there are too many."""
        # What the conductor is told of must not be lost with the name.
        self._disk.sync(self._fd)
        self.close()
        for number in range(COUNT - 1, 0, -1):
            older = f'{self._path}.{number - 1}' if number > 1 else self._path
            if self._disk.exists(older):
                self._disk.rename(older, f'{self._path}.{number}')
        self._create()

    def _write(self, records: Sequence[dict[str, Any]]) -> None:
        before = self._chain.head
        lines = self._chain.add(records)
        try:
            self._disk.write(self._fd, lines, self._end)
        except OSError:
            self._chain.head = before
            self._disk.truncate(self._fd, self._end)
            raise
        self._end += len(lines)

    def _paths(self) -> list[str]:
        """Return the files that are there, the oldest first."""
        names = [f'{self._path}.{number}' for number in range(COUNT - 1, 0, -1)]
        return [path for path in (*names, self._path) if self._disk.exists(path)]

    def _lines(self, path: str) -> io.TextIOWrapper:
        """Open a file to read its lines."""
        return io.TextIOWrapper(
            self._disk.stream(path), encoding='utf-8', errors='surrogateescape'
        )

    def _first(self, path: str) -> int:
        """Return the number of a file's first record."""
        with self._lines(path) as file:
            try:
                return chain.read(file.readline().rstrip('\n')).head.length
            except chain.Broken:
                return 1
