# SPDX-License-Identifier: Apache-2.0
"""The checksum of a file that comes or goes in parts, in any order.

A part that follows what was summed before is summed as it passes; what came too early
is read again when the gap before it is closed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_CHUNK = 1024 * 1024


class Summing:
    """SHA-256 of the first bytes of a file.

    :param descriptor: of the file.
    """

    def __init__(self, descriptor: int) -> None:
        import hashlib

        self._descriptor = descriptor
        self._sum = hashlib.sha256()
        self._done = 0
        self._parts: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """What has passed, as (first byte, byte behind the last)."""
        with self._lock:
            return list(self._parts)

    def has(self, start: int, end: int) -> bool:
        """Whether all bytes of a part have passed."""
        return any(first <= start and end <= last for first, last in self.ranges)

    def passed(self, start: int, data: bytes) -> None:
        """Note a part that has passed; the file has it."""
        with self._lock:
            if start == self._done:
                self._add(data)
            self._merge(start, start + len(data))
            if self._parts[0][0] == 0:
                self._read(self._parts[0][1])

    def digest(self, size: int, check: Callable[[], None]) -> str:
        """Return the checksum of the first ``size`` bytes, in hexadecimal.

        :param check: called now and then; what it raises ends this.
        """
        with self._lock:
            while self._done < size:
                check()
                before = self._done
                self._read(min(size, self._done + 64 * _CHUNK))
                if self._done == before:
                    break  # the file has become shorter
            return self._sum.hexdigest()

    def _add(self, data: bytes) -> None:
        self._sum.update(data)
        self._done += len(data)

    def _read(self, end: int) -> None:
        while self._done < end:
            data = os.pread(self._descriptor, min(_CHUNK, end - self._done), self._done)
            if not data:
                return
            self._add(data)

    def _merge(self, start: int, end: int) -> None:
        apart = []
        for first, last in self._parts:
            if last < start or first > end:
                apart.append((first, last))
            else:
                start, end = min(start, first), max(end, last)
        self._parts = sorted([*apart, (start, end)])
