# SPDX-License-Identifier: Apache-2.0
"""What a program is still to be given as its input; no I/O."""

from __future__ import annotations

from guestagent import errors

#: How many bytes wait for a program that does not read, beside what it began with.
WAITING = 1024 * 1024

#: What a terminal takes for the end of its input: Ctrl-D.
_END_OF_INPUT = b'\x04'


class Input:
    """Bytes that wait to be written, in order.

    :param data: what comes first, whatever its size.
    :param more: whether :meth:`add` may be used.
    :param typed: it goes to a terminal, where a character says that it ends.
    :ivar taken: how many bytes :meth:`add` has taken.
    :ivar closing: nothing is added any more: after what waits, it ends.
    """

    __slots__ = ('_in_line', '_typed', '_waiting', 'closing', 'taken')

    def __init__(self, data: bytes, more: bool, typed: bool = False) -> None:
        self._waiting = bytearray(data)
        self._in_line = bool(data) and not data.endswith(b'\n')
        self._typed = typed
        self.taken = 0
        self.closing = False
        if not more:
            self.close()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, data: bytes, offset: int | None) -> bool:
        """Take as much as there is room for; return whether that was all.

        :param offset: where it belongs among all that was added; what was taken
            before is passed over.
        :raises guestagent.errors.InvalidArgument: that leaves a gap.
        """
        if offset is not None:
            if not 0 <= offset <= self.taken:
                raise errors.InvalidArgument(
                    f'offset: {offset} is not between 0 and {self.taken}, the bytes '
                    f'that were written so far'
                )
            data = data[self.taken - offset :]
        part = data[: max(0, WAITING - len(self._waiting))]
        self._waiting += part
        self.taken += len(part)
        if part:
            self._in_line = not part.endswith(b'\n')
        return len(part) == len(data)

    def close(self) -> None:
        """Let it end after what waits; once is enough."""
        if self._typed and not self.closing:
            # In a line the first only sends what stands there.
            self._waiting += _END_OF_INPUT * (2 if self._in_line else 1)
        self.closing = True

    def next(self, count: int) -> bytes:
        """Return at most ``count`` of the bytes that come next; they stay."""
        return bytes(self._waiting[:count])

    def done(self, count: int) -> None:
        """Forget so many bytes: they were written."""
        del self._waiting[:count]

    def drop(self) -> None:
        """Forget all that waits, and take no more: nobody reads it."""
        self._waiting.clear()
        self.closing = True
