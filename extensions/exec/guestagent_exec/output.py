# SPDX-License-Identifier: Apache-2.0
"""What is kept of a stream, who reads along, and how it travels as text; no I/O.

The first bytes are kept for whoever asks later.  Behind them a window moves along with
the stream for those who read while it is written: as long as one of them lags behind,
:meth:`Output.room` says that no more may come.  Nobody can stop a stream for longer
than :data:`READER_SECONDS` by not coming back.
"""

from __future__ import annotations

import base64
import sys
import threading
from typing import Any

#: Seconds within which a reader must come back to count as one.
READER_SECONDS = 15.0
#: How many readers of a stream are waited for.
READERS = 16


class Budget:
    """How many bytes several outputs may keep together; for all threads."""

    __slots__ = ('_lock', 'left')

    def __init__(self, most: int) -> None:
        self.left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take so many; below 0: give them back."""
        with self._lock:
            self.left -= count


class Output:
    """The first ``limit`` bytes of a stream, and behind them the last ``window``.

    :param budget: what the former are taken from, by one thread.
    :ivar total: how many bytes there were.
    :ivar read_to: up to where somebody has read.
    """

    __slots__ = (
        '_budget',
        '_growing',
        '_head',
        '_limit',
        '_readers',
        '_tail',
        '_window',
        'read_to',
        'total',
    )

    def __init__(
        self, limit: int, window: int = 0, budget: Budget | None = None
    ) -> None:
        self._limit = limit
        self._window = window
        self._budget = budget
        self._head = bytearray()
        self._tail = bytearray()
        # Whether all bytes so far are in the head.
        self._growing = True
        # By name: up to where, and when, it has asked.
        self._readers: dict[str, tuple[int, float]] = {}
        self.total = 0
        self.read_to = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(chunk)
        if self._growing:
            part = chunk[: self._head_room()]
            if self._budget is not None:
                self._budget.take(len(part))
            self._head += part
            chunk = chunk[len(part) :]
            self._growing = not chunk
        if chunk:
            self._tail += chunk
            surplus = len(self._tail) - self._window
            if surplus > 0:
                del self._tail[:surplus]

    def widen(self, count: int) -> None:
        """Make the window, if there is one, larger by so many bytes."""
        if self._window:
            self._window += count

    def discard(self) -> None:
        """Keep no more; give back what was taken from the budget."""
        if self._budget is not None:
            self._budget.take(-len(self._head))
        self._head, self._tail, self._growing = bytearray(), bytearray(), False

    def attach(self, reader: str, offset: int, now: float) -> None:
        """Note that a reader has all before ``offset``, and wants what follows."""
        self._readers.pop(reader, None)
        self._readers[reader] = min(offset, self.total), now
        if len(self._readers) > READERS:
            del self._readers[next(iter(self._readers))]

    def room(self, now: float) -> int:
        """Return how many bytes may come without a loss to those who read along."""
        for reader, (_offset, asked) in list(self._readers.items()):
            if asked + READER_SECONDS <= now:
                del self._readers[reader]
        if not self._readers:
            return sys.maxsize
        behind = min(offset for offset, _asked in self._readers.values())
        passed = max(0, behind - self._tail_start)
        head = self._head_room() if self._growing else 0
        return head + max(0, self._window - len(self._tail) + passed)

    def leaves(self) -> float:
        """Return when the first reader counts as gone unless it comes back."""
        asked = min((asked for _offset, asked in self._readers.values()), default=0.0)
        return asked + READER_SECONDS

    def read(self, offset: int, count: int) -> tuple[bytes, int]:
        """Return at most ``count`` bytes from ``offset`` on, and where they begin.

        They begin later where bytes were dropped, and at the end where none are left.
        """
        begins, start = self._tail_start, min(offset, self.total)
        data = bytes(self._head[start : start + count])
        if not data and start < begins:
            start = begins
        if begins <= start + len(data):
            at = start + len(data) - begins
            data += self._tail[at : at + count - len(data)]
        self.read_to = max(self.read_to, start + len(data))
        return data, start

    @property
    def truncated(self) -> bool:
        """Whether there were more bytes than are kept for later."""
        return not self._growing

    def result(self, name: str) -> dict[str, Any]:
        """Return the members of a result that describe this stream.

        They are ``<name>``, ``<name>_encoding`` (``utf-8`` where the bytes are that,
        else ``base64``), ``<name>_truncated`` and ``<name>_bytes``, the total.
        """
        text, encoding = self._text()
        return {
            name: text,
            f'{name}_encoding': encoding,
            f'{name}_truncated': self.truncated,
            f'{name}_bytes': self.total,
        }

    @property
    def _tail_start(self) -> int:
        return self.total - len(self._tail)

    def _head_room(self) -> int:
        room = self._limit - len(self._head)
        return room if self._budget is None else max(0, min(room, self._budget.left))

    def _text(self) -> tuple[str, str]:
        kept = self._head
        try:
            return kept.decode(), 'utf-8'
        except UnicodeDecodeError as error:
            # A cut through a character makes no other bytes of a text.
            if self.truncated and error.reason == 'unexpected end of data':
                return kept[: error.start].decode(), 'utf-8'
        return base64.b64encode(kept).decode('ascii'), 'base64'
