# SPDX-License-Identifier: Apache-2.0
"""Bring home what was written to the area: into the files, once, and synced.

Most is copied while others go on writing to the area; only the rest while they wait.  A
tail leaves the area when its file is on the disk.  A crash before that costs nothing:
what is copied again is the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from guestagent.agent.holding import disk as held
from guestagent.agent.holding import overlay as overlays

_CHUNK = 256 * 1024
_SUFFIX = '.merged'


class _Copy:
    """Where a tail is copied to."""

    def __init__(self, path: str, tail: overlays.Tail, number: int) -> None:
        self.path = f'{path}.{number}{_SUFFIX}' if tail.whole else path
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        if tail.whole:
            flags |= os.O_CREAT | os.O_TRUNC
        self.fd = os.open(self.path, flags, 0o600)


class Merging:
    """One attempt; what it raises is an OSError of the real disk."""

    def __init__(self, overlay: overlays.Overlay) -> None:
        self._overlay = overlay
        self._copies: dict[overlays.Tail, _Copy] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tail, copy in self._copies.items():
            # What was not brought home must be copied anew by the next attempt.
            tail.dirty = 0
            os.close(copy.fd)
            if copy.path.endswith(_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(copy.path)

    def copy(self) -> None:
        """Copy what is there, while others write more."""
        with self._overlay.lock:
            tails = list(self._overlay.tails.values())
        for tail in tails:
            self._copy(tail)

    def finish(self, files: Mapping[int, held.Opened]) -> None:
        """Copy the rest, and empty the area; while nobody writes.

        :param files: those that are open, which go on with the real ones.
        """
        for tail in list(self._overlay.tails.values()):
            copy = self._copy(tail)
            path = self._overlay.path(tail)
            if tail.whole:
                os.rename(copy.path, path)
                copy.path = path
                _sync_folder(self._overlay.folder)
                for fd, file in files.items():
                    if file.path == path:
                        os.dup2(copy.fd, fd, inheritable=False)
            with self._overlay.lock:
                self._overlay.remove(tail)

    def _copy(self, tail: overlays.Tail) -> _Copy:
        """Have the disk hold what was written to a tail since the last time."""
        copy = self._copies.get(tail)
        if copy is None:
            path, number = self._overlay.path(tail), len(self._copies)
            copy = self._copies[tail] = _Copy(path, tail, number)
        with self._overlay.lock:
            at, end = tail.dirty, tail.size
            tail.dirty = sys.maxsize
        while at < end:
            data = tail.read(min(_CHUNK, end - at), at)
            if not data:
                break  # it was cut off meanwhile
            at += _write(copy.fd, data, tail.start + at)
        os.ftruncate(copy.fd, tail.start + end)
        os.fdatasync(copy.fd)
        return copy


def _write(fd: int, data: bytes, offset: int) -> int:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
    return done


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
