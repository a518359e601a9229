# SPDX-License-Identifier: Apache-2.0
"""The area: what was written to the files of one folder while they are held.

Of a file that is there the area has the *tail*, all from the first byte that was
written since; of one that was made since it has everything.  Each is a file of its own
in a folder that should be in memory, so a crash of the agent loses nothing::

    'gatail'  whole, u8 (1: made since)  0, u8  where it begins, u64  bytes ...

The bytes before that are read from the file itself, which a frozen file system allows.
"""

from __future__ import annotations

import errno
import os
import struct
import threading

from guestagent.agent import disk as disks

_HEAD = struct.Struct('<6sBxQ')
_MARK = b'gatail'
#: Bytes that only what is urgent may use.
SPARE = 256 * 1024


class Tail:
    """What the area has of one file.

    :ivar name: in the folder of the area, and of the file in its own.
    :ivar start: where in the file it begins.
    :ivar whole: whether the file was made since.
    :ivar dirty: from where on it was written to since it was copied last.
    """

    def __init__(self, fd: int, name: str, start: int, whole: bool) -> None:
        self.fd = fd
        self.name = name
        self.start = start
        self.whole = whole
        self.size = os.fstat(fd).st_size - _HEAD.size
        self.dirty = 0

    @property
    def end(self) -> int:
        """Where the file ends."""
        return self.start + self.size

    def read(self, size: int, offset: int) -> bytes:
        """Return so many bytes at an offset of the tail, less at its end."""
        return os.pread(self.fd, size, _HEAD.size + offset)

    def write(self, data: bytes, offset: int) -> None:
        """Write at an offset of the tail."""
        self.dirty = min(self.dirty, offset)
        rest, at = memoryview(data), _HEAD.size + offset
        while rest:
            written = os.pwrite(self.fd, rest, at)
            rest, at = rest[written:], at + written
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        """Cut it off, or have it end in zeros."""
        os.ftruncate(self.fd, _HEAD.size + size)
        self.dirty = min(self.dirty, self.size, size)
        self.size = size


class Overlay:
    """See the module; for any thread.

    What it raises is an OSError, as of a disk: :class:`guestagent.agent.disk.AreaFull`
    when there is no room.

    :param area: its folder, which is there.
    :param folder: of the files.
    :param room: how many bytes it may take.
    :ivar tails: by the names of the files.
    :ivar lock: under which all happens.
    """

    def __init__(self, area: str, folder: str, room: int) -> None:
        self.area = area
        self.folder = folder
        self.lock = threading.Lock()
        self._room = room
        self.tails: dict[str, Tail] = {}
        self._replaced: list[Tail] = []
        for entry in os.scandir(area):
            tail = self._find(entry.name)
            if tail is not None:
                self.tails[entry.name] = tail

    def path(self, tail: Tail) -> str:
        """Return where the file of a tail is."""
        return os.path.join(self.folder, tail.name)

    def has(self, path: str) -> bool:
        """Whether something was written to a file."""
        return self._name(path) in self.tails

    def beside(self, path: str) -> str:
        """Return where a file may be that never comes home."""
        return os.path.join(self.area, f'{self._name(path)}.beside')

    def read(self, path: str) -> bytes:
        """Return all that is in a file."""
        with self.lock:
            tail = self.tails.get(self._name(path))
            if tail is not None and tail.whole:
                return tail.read(tail.size, 0)
            with open(path, 'rb') as file:
                if tail is None:
                    return file.read()
                return file.read(tail.start) + tail.read(tail.size, 0)

    def open(self, path: str) -> int:
        """Return a descriptor that stands for a file."""
        with self.lock:
            tail = self.tails.get(self._name(path))
            if tail is not None and tail.whole:
                path = os.path.join(self.area, tail.name)
            # On some kernels to open it waits for the thaw unless it was looked up.
            os.stat(path)
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def create(self, path: str) -> int:
        """Make an empty file; return a descriptor that stands for it."""
        with self.lock:
            tail = self._begin(self._name(path), 0, whole=True)
            return os.open(os.path.join(self.area, tail.name), os.O_RDWR | os.O_CLOEXEC)

    def size(self, path: str, fd: int) -> int:
        """Return where a file ends; ``fd`` stands for it, here and below."""
        with self.lock:
            tail = self.tails.get(self._name(path))
            return os.fstat(fd).st_size if tail is None else tail.end

    def write(self, path: str, data: bytes, offset: int) -> None:
        """Write behind what was there when it was held."""
        with self.lock:
            tail = self._tail(path, offset)
            self._charge(offset + len(data) - tail.end)
            try:
                tail.write(data, offset - tail.start)
            except OSError as error:
                raise self._full(error) from error

    def read_at(self, path: str, fd: int, size: int, offset: int) -> bytes:
        """Return so many bytes at an offset, less at the end."""
        with self.lock:
            tail = self.tails.get(self._name(path))
            if tail is None:
                return os.pread(fd, size, offset)
            first = b''
            if offset < tail.start:
                first = os.pread(fd, min(size, tail.start - offset), offset)
            begin = max(0, offset - tail.start)
            return first + tail.read(size - len(first), begin)

    def allocate(self, path: str, offset: int, size: int) -> None:
        """Have room for so many bytes at an offset; they read as zeros."""
        with self.lock:
            tail = self._tail(path, offset)
            if offset + size > tail.end:
                self._charge(offset + size - tail.end)
                try:
                    os.posix_fallocate(tail.fd, _HEAD.size + offset - tail.start, size)
                except OSError as error:
                    raise self._full(error) from error
                tail.resize(offset + size - tail.start)

    def truncate(self, path: str, fd: int, size: int) -> None:
        """Cut a file off."""
        with self.lock:
            tail = self.tails.get(self._name(path))
            if tail is None and size >= os.fstat(fd).st_size:
                return
            tail = self._tail(path, size)
            tail.resize(size - tail.start)

    def rename(self, old: str, new: str) -> None:
        """Put a file in the place of another.

        One that was there before is copied, and stays where it was.
        """
        content = None
        tail = self.tails.get(self._name(old))
        if tail is None or not tail.whole:
            content = self.read(old)
        with self.lock:
            name = self._name(new)
            if content is not None:
                self._charge(len(content))
                self._begin(name, 0, whole=True).write(content, 0)
                return
            moved = self.tails.pop(self._name(old))
            os.rename(os.path.join(self.area, moved.name), self._place(name))
            self._replace(name, moved)
            moved.dirty = 0

    def remove(self, tail: Tail) -> None:
        """Forget a tail that has come home; in the lock."""
        os.unlink(self._place(tail.name))
        os.close(tail.fd)
        del self.tails[tail.name]

    def close(self) -> None:
        """Let go of what is left, which stays in the folder."""
        with self.lock:
            for tail in (*self.tails.values(), *self._replaced):
                os.close(tail.fd)
            self.tails.clear()
            self._replaced.clear()

    def clear(self) -> None:
        """Forget all, here and in the folder."""
        with self.lock:
            for tail in list(self.tails.values()):
                self.remove(tail)
        self.close()

    def _name(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder != self.folder:
            raise OSError(errno.EXDEV, f'it is not in {self.folder}')
        return name

    def _place(self, name: str) -> str:
        return os.path.join(self.area, name)

    def _find(self, name: str) -> Tail | None:
        """Return a tail that a process before has left; ``None``: it is none."""
        if name.endswith(('.begin', '.beside')):
            return None
        fd = os.open(self._place(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        head = os.pread(fd, _HEAD.size, 0)
        if len(head) == _HEAD.size:
            mark, whole, start = _HEAD.unpack(head)
            if mark == _MARK:
                return Tail(fd, name, start, bool(whole))
        os.close(fd)
        return None

    def _tail(self, path: str, offset: int) -> Tail:
        """Return the tail of a file, begun there if there was none."""
        name = self._name(path)
        tail = self.tails.get(name)
        if tail is None:
            tail = self._begin(name, offset, whole=False)
        if offset < tail.start:
            raise OSError(errno.EINVAL, 'what was there before it was held is frozen')
        return tail

    def _begin(self, name: str, start: int, whole: bool) -> Tail:
        begun = self._place(f'{name}.begin')
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(begun, flags, 0o600)
        try:
            os.pwrite(fd, _HEAD.pack(_MARK, whole, start), 0)
            # Never seen without its head.
            os.rename(begun, self._place(name))
        except OSError as error:
            os.close(fd)
            raise self._full(error) from error
        tail = Tail(fd, name, start, whole)
        self._replace(name, tail)
        return tail

    def _replace(self, name: str, tail: Tail) -> None:
        before = self.tails.get(name)
        if before is not None:
            # Not closed: it may just be copied.
            self._replaced.append(before)
        tail.name = name
        self.tails[name] = tail

    def _charge(self, more: int) -> None:
        if more <= 0:
            return
        used = sum(tail.size for tail in self.tails.values())
        spare = SPARE if disks.URGENCY.urgent else 0
        if used + more > self._room + spare:
            raise disks.AreaFull(self.area)

    def _full(self, error: OSError) -> OSError:
        return disks.AreaFull(self.area) if error.errno in disks.FULL else error
