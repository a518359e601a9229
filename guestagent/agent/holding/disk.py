# SPDX-License-Identifier: Apache-2.0
"""The disk of an agent: the real one, or the area that stands in its place.

All files of records are opened through one of these.  Who uses them notices nothing of
a change, but that what makes a file smaller should wait (``held``).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from guestagent.agent import disk as disks
from guestagent.agent.holding import gate

if TYPE_CHECKING:
    from guestagent.agent.holding import overlay as overlays

#: Seconds in which a call of the real disk must return before it can be frozen, and one
#: of the area, which is in memory.
DISK_SECONDS, AREA_SECONDS = 20.0, 60.0


class Opened:
    """A file that is open.

    :ivar path: ``''``: it has no name any more.
    :ivar end: where the last write ended, or the file did when it was opened.
    :ivar reserved: where its room ends.
    :ivar error: why the disk may not hold what was written; ``None``: it does.
    """

    __slots__ = ('end', 'error', 'path', 'reserved')

    def __init__(self, path: str, end: int) -> None:
        self.path = path
        self.end = self.reserved = end
        self.error: OSError | None = None


class Disk(disks.Disk):
    """Like its base class; for any thread."""

    def __init__(self) -> None:
        self._gate = gate.Gate()
        self._files: dict[int, Opened] = {}
        self._overlay: overlays.Overlay | None = None

    @property
    def held(self) -> bool:  # type: ignore[override]
        """See the base class."""
        return self._overlay is not None

    def hold(self, make: Callable[[], overlays.Overlay]) -> None:
        """Write to an area from now on, and nothing more to the real disk.

        :param make: makes the area.
        :raises TimeoutError: the real disk does not answer.
        :raises OSError: it fails, or the area cannot be made.
        """
        with self._gate.alone(DISK_SECONDS):
            # What is synced from now on may have been written before.
            for fd, file in self._files.items():
                try:
                    super().sync(fd)
                except OSError as error:
                    file.error = error  # who asks next is told: no second sync is
                    raise
            overlay = make()
            try:
                for file in self._files.values():
                    if file.path and file.reserved > file.end:
                        overlay.allocate(file.path, file.end, file.reserved - file.end)
            except OSError:
                overlay.clear()
                raise
            self._overlay = overlay

    def release(self) -> None:
        """Bring home what is in the area, and write to the real disk again.

        It may wait for the real disk, and be called again when that fails.  Who reads
        and writes does not wait but at the end, for the last few bytes.

        :raises OSError: it failed; the files are held as before.
        :raises TimeoutError: a call of the area does not return.
        """
        overlay = self._overlay
        if overlay is None:
            return
        from guestagent.agent.holding import merging  # few agents are ever frozen

        with merging.Merging(overlay) as merge:
            merge.copy()
            with self._gate.alone(AREA_SECONDS):
                merge.finish(self._files)
                self._overlay = None
        overlay.close()

    def read(self, path: str) -> bytes:
        """See the base class."""
        with self._gate:
            if self._overlay is not None:
                return self._overlay.read(path)
            return super().read(path)

    def exists(self, path: str) -> bool:
        """See the base class."""
        with self._gate:
            if self._overlay is not None and self._overlay.has(path):
                return True
            return super().exists(path)

    def stream(self, path: str) -> BinaryIO:
        """See the base class."""
        with self._gate:
            if self._overlay is not None:
                return io.BytesIO(self._overlay.read(path))
            return super().stream(path)

    def open(self, path: str) -> int:
        """See the base class."""
        with self._gate:
            overlay = self._overlay
            fd = super().open(path) if overlay is None else overlay.open(path)
            self._files[fd] = Opened(path, os.fstat(fd).st_size)
            return fd

    def create(self, path: str) -> int:
        """See the base class."""
        with self._gate:
            overlay = self._overlay
            fd = super().create(path) if overlay is None else overlay.create(path)
            self._files[fd] = Opened(path, 0)
            return fd

    def close(self, fd: int) -> None:
        """See the base class."""
        with self._gate:
            self._files.pop(fd, None)
            super().close(fd)

    def size(self, fd: int) -> int:
        """See the base class."""
        with self._gate:
            if self._overlay is not None and fd in self._files:
                return self._overlay.size(self._files[fd].path, fd)
            return super().size(fd)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """See the base class."""
        with self._gate:
            file = self._files[fd]
            if self._overlay is not None:
                self._overlay.write(file.path, data, offset)
            else:
                super().write(fd, data, offset)
            file.end = offset + len(data)
            file.reserved = max(file.reserved, file.end)

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        """See the base class."""
        with self._gate:
            if self._overlay is not None:
                return self._overlay.read_at(self._files[fd].path, fd, size, offset)
            return super().read_at(fd, size, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """See the base class."""
        with self._gate:
            file = self._files[fd]
            if self._overlay is not None:
                self._overlay.allocate(file.path, offset, size)
            else:
                super().allocate(fd, offset, size)
            file.reserved = max(file.reserved, offset + size)

    def truncate(self, fd: int, size: int) -> None:
        """See the base class."""
        with self._gate:
            file = self._files[fd]
            if self._overlay is not None:
                self._overlay.truncate(file.path, fd, size)
            else:
                super().truncate(fd, size)
            file.end, file.reserved = min(file.end, size), size

    def sync(self, fd: int) -> None:
        """See the base class."""
        with self._gate:
            file = self._files.get(fd)
            if file is not None and file.error is not None:
                raise file.error
            # An area in memory has nothing to be synced with.
            if self._overlay is None:
                super().sync(fd)

    def rename(self, old: str, new: str) -> None:
        """See the base class."""
        with self._gate:
            if self._overlay is not None:
                self._overlay.rename(old, new)
            else:
                super().rename(old, new)
            for file in self._files.values():
                if file.path == new:
                    file.path = ''
                elif file.path == old:
                    file.path = new

    def sync_folder(self, path: str) -> None:
        """See the base class."""
        with self._gate:
            if self._overlay is None:
                super().sync_folder(path)

    def lock(self, path: str) -> int:
        """See the base class."""
        with self._gate:
            if self._overlay is not None and not super().exists(path):
                path = self._overlay.beside(path)
            return super().lock(path)
