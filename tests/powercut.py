# SPDX-License-Identifier: Apache-2.0
"""A disk in memory that remembers what was synced, and can lose the rest.

It stands in the place of :class:`guestagent.agent.disk.Disk`.  After so many of its
steps, :meth:`PowerCut.after` makes the disk that a power cut then could leave: all that
was synced is there; each write since is there, is not, or is torn, whatever became of
those before it; names change in their order, as file systems keep them, but maybe not
up to the last one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from guestagent.agent import disk as disks

#: (what, inode, argument, argument)
Step = tuple[str, int, object, object]


class Content:
    """The bytes of one file."""

    def __init__(self, data: bytes = b'') -> None:
        self.data = bytearray(data)

    def apply(self, step: Step, share: float = 1.0) -> None:
        """Do a step, or of a write only the first share of its bytes."""
        what, _, first, second = step
        if what == 'write':
            offset, data = int(first), bytes(second)
            data = data[: round(len(data) * share)]
            self.data.extend(bytes(max(0, offset - len(self.data))))
            self.data[offset : offset + len(data)] = data
        elif what == 'truncate':
            size = int(first)
            del self.data[size:]
            self.data.extend(bytes(size - len(self.data)))
        elif what == 'extend':
            self.data.extend(bytes(max(0, int(first) - len(self.data))))


class PowerCut(disks.Disk):
    """See the module.

    :ivar steps: all that was done.
    :ivar room: how many bytes fit on it; ``None``: any.
    :ivar sync_error: what a sync raises; ``None``: nothing.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._names: dict[str, int] = {}
        self._contents: dict[int, Content] = {}
        self._fds: dict[int, int] = {}
        self._next = 0
        self.steps: list[Step] = []
        self.room: int | None = None
        self.sync_error: OSError | None = None
        for path, data in (files or {}).items():
            self._names[path] = self._add(data)
        self._first = (
            dict(self._names),
            {inode: bytes(content.data) for inode, content in self._contents.items()},
        )

    @classmethod
    def of(cls, steps: list[Step]) -> PowerCut:
        """Return a disk on which this was done, by whomever, to be cut off."""
        made = cls()
        made.steps = steps
        return made

    def files(self) -> dict[str, bytes]:
        """Return what is in each file."""
        return {
            path: bytes(self._contents[inode].data)
            for path, inode in self._names.items()
        }

    def read(self, path):
        return bytes(self._contents[self._inode(path)].data)

    def open(self, path):
        return self._open(self._inode(path))

    def create(self, path):
        if path in self._names:
            inode = self._names[path]
            self._do('truncate', inode, 0)
        else:
            inode = self._names[path] = self._add(b'')
            self._note('name', inode, path)
        return self._open(inode)

    def close(self, fd):
        del self._fds[fd]

    def write(self, fd, data, offset):
        inode = self._fds[fd]
        self._need(inode, offset + len(data))
        self._do('write', inode, offset, bytes(data))

    def read_at(self, fd, size, offset):
        return bytes(self._contents[self._fds[fd]].data[offset : offset + size])

    def allocate(self, fd, offset, size):
        inode = self._fds[fd]
        self._need(inode, offset + size)
        if len(self._contents[inode].data) < offset + size:
            self._do('truncate', inode, offset + size)

    def truncate(self, fd, size):
        self._do('truncate', self._fds[fd], size)

    def sync(self, fd):
        if self.sync_error is not None:
            raise self.sync_error
        self._note('sync', self._fds[fd])

    def rename(self, old, new):
        self._names[new] = self._names.pop(old)
        self._note('rename', 0, old, new)

    def sync_folder(self, path):
        self._note('sync_folder', 0)

    def lock(self, path):
        return self._open(-1)

    def after(self, steps: int, fate: Callable[[], float]) -> PowerCut:
        """Return what a power cut after so many steps leaves.

        :param fate: says of each thing that was not synced how much of it is there,
            from 0 to 1; of a name, whether it is (from a half).
        """
        done = self.steps[:steps]
        names, contents = self._first[0].copy(), dict(self._first[1])
        for step in _names_left(done, fate):
            _rename(names, step)
        inodes = set(contents) | {step[1] for step in done if step[0] == 'name'}
        left = {
            inode: _content_left(contents.get(inode, b''), inode, done, fate)
            for inode in inodes
        }
        return PowerCut({path: left[inode] for path, inode in names.items()})

    def _inode(self, path: str) -> int:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._names[path]

    def _add(self, data: bytes) -> int:
        self._next += 1
        self._contents[self._next] = Content(data)
        return self._next

    def _open(self, inode: int) -> int:
        self._next += 1
        self._fds[self._next] = inode
        return self._next

    def _need(self, inode: int, size: int) -> None:
        if self.room is None:
            return
        used = sum(len(content.data) for content in self._contents.values())
        grows = max(0, size - len(self._contents[inode].data))
        if grows and used + grows > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _do(self, what: str, inode: int, first=None, second=None) -> None:
        self._note(what, inode, first, second)
        self._contents[inode].apply(self.steps[-1])

    def _note(self, what: str, inode: int, first=None, second=None) -> None:
        self.steps.append((what, inode, first, second))


def _names_left(done: list[Step], fate: Callable[[], float]) -> list[Step]:
    """Return the changes of names that have reached the disk."""
    left, maybe = [], []
    for step in done:
        if step[0] in ('name', 'rename'):
            maybe.append(step)
        elif step[0] == 'sync_folder':
            left, maybe = left + maybe, []
    for step in maybe:
        if fate() < 0.5:
            break
        left.append(step)
    return left


def _rename(names: dict[str, int], step: Step) -> None:
    what, inode, first, second = step
    if what == 'name':
        names[str(first)] = inode
    else:
        names[str(second)] = names.pop(str(first))


def _content_left(
    data: bytes, inode: int, done: list[Step], fate: Callable[[], float]
) -> bytes:
    """Return what is in a file."""
    content = Content(data)
    maybe: list[Step] = []
    for step in done:
        if step[1] == inode and step[0] in ('write', 'truncate', 'extend'):
            maybe.append(step)
        elif step[1] == inode and step[0] == 'sync':
            for safe in maybe:
                content.apply(safe)
            maybe = []
    for step in maybe:
        share = fate()
        if share > 0:
            content.apply(step, share)
    return bytes(content.data)
