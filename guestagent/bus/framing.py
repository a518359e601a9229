# SPDX-License-Identifier: Apache-2.0
"""The channel's frames, out of a stream of bytes and into it; no I/O.

doc/wire.rst, section "The channel", is the specification.  A frame is::

    0xFF  <size: 8 hexadecimal digits>  <CRC-32: 8>  <header: JSON>  LF  <body>

``size`` counts what follows the digits, and the CRC is of that.  Both header and body
are text in UTF-8, in which the byte 0xFF never occurs: wherever a stream was cut and
whatever stands in between, the next 0xFF is where the next frame begins, and nothing
that a message holds can look like one.
"""

from __future__ import annotations

import enum
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

from guestagent import jsontext

#: What both sides say in their first frame.
VERSION = 1

START = b'\xff'
_HEAD = 17
_DIGITS = frozenset(b'0123456789abcdef')
_WHOLE_HEAD = re.compile(rb'\xff([0-9a-f]{8})([0-9a-f]{8})')

#: What a header may take beside the body, in bytes.
HEADER_MAX = 65536

_dumps = json.JSONEncoder(separators=(',', ':'), check_circular=False).encode


class Outcome(enum.Enum):
    """What the hub says of a message that it was given."""

    #: It waits in the hub's memory, or was delivered; more will follow.
    HELD = 'held'
    #: Whoever took it has acknowledged it.
    ACKNOWLEDGED = 'acknowledged'
    #: Nobody is there to take it.
    RETURNED = 'returned'
    #: The hub does not take it, or has no room.
    REJECTED = 'rejected'
    #: It waited too long.
    EXPIRED = 'expired'


class Unsendable(ValueError):
    """A frame that cannot be written; says why."""


class Frame:
    """A header, an object whose ``op`` says what it is about, and a body."""

    __slots__ = ('body', 'header')

    def __init__(self, header: dict[str, Any], body: bytes = b'') -> None:
        self.header = header
        self.body = body

    @property
    def op(self) -> str:
        """What the frame is about."""
        return str(self.header['op'])


def encode(header: dict[str, Any], body: bytes = b'') -> bytes:
    """Return a frame.

    :raises Unsendable: the body holds the byte 0xFF, or the header is no JSON.
    """
    try:
        text = _dumps(header).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unsendable(f'the header is not JSON: {error}') from None
    return join(text, body)


def join(text: bytes, body: bytes) -> bytes:
    """Return a frame whose header is written already.

    :raises Unsendable: the body holds the byte 0xFF.
    """
    if START in body:
        raise Unsendable('the body is not UTF-8: it holds the byte 0xff')
    payload = b'%b\n%b' % (text, body)
    return b'\xff%08x%08x%b' % (len(payload), zlib.crc32(payload), payload)


class Decoder:
    """Cuts a stream into frames, and finds the next one after anything else.

    :param body_max: the largest body that is taken, in bytes; more is skipped.
    :ivar skipped: how many bytes were no part of a good frame.
    :ivar broken: how many frames were cut, damaged, too large or made no sense.
    :ivar problem: what was wrong with the last of them; ``''``: nothing yet.
    """

    __slots__ = ('_parts', '_size', '_size_max', 'broken', 'problem', 'skipped')

    def __init__(self, body_max: int) -> None:
        self._size_max = body_max + HEADER_MAX
        # What came of the frame in hand, and the size that it needs.
        self._parts = bytearray()
        self._size = _HEAD
        self.skipped = 0
        self.broken = 0
        self.problem = ''

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._parts)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes; all of them must be taken."""
        start, length = 0, len(data)
        while start < length:
            if not self._parts:
                frame, end = self._whole(data, start)
                if frame is not None:
                    start = end
                    yield frame
                    continue
                start = self._find(data, start)
                if start < 0:
                    return
            missing = self._size - len(self._parts)
            end = min(start + missing, length)
            # The frame in hand was cut where another one begins.
            cut = data.find(START, start if self._parts else start + 1, end)
            if cut >= 0:
                self._parts += data[start:cut]
                self._drop('it was cut')
                start = cut
                continue
            self._parts += data[start:end]
            start = end
            if len(self._parts) < self._size:
                return
            if self._size == _HEAD:
                self._measure()
            else:
                yield from self._finish()

    def _whole(self, data: bytes, start: int) -> tuple[Frame | None, int]:
        """Return the good frame that stands there as a whole, and where it ends.

        Most do; whatever is wrong with others is found out piece by piece.
        """
        head = _WHOLE_HEAD.match(data, start)
        if head is None:
            return None, start
        start += _HEAD
        size = int(head[1], 16)
        end = start + size
        if size > self._size_max or end > len(data) or data.find(START, start, end) > 0:
            return None, start
        payload = data[start:end]
        if zlib.crc32(payload) != int(head[2], 16):
            return None, start
        return _parse(payload), end

    def _find(self, data: bytes, start: int) -> int:
        """Return where the next frame begins, or -1; count what is before it."""
        found = data.find(START, start)
        self.skipped += (len(data) if found < 0 else found) - start
        return found

    def _measure(self) -> None:
        """Read the size of the frame in hand; its first bytes are here."""
        if not _DIGITS.issuperset(self._parts[1:]):
            self._drop('it has no size')
            return
        size = int(self._parts[1:9], 16)
        if size > self._size_max:
            self._drop(f'it takes {size} bytes, and at most {self._size_max} are taken')
            return
        if not size:
            self._drop('it is empty')
            return
        self._size = _HEAD + size

    def _finish(self) -> Iterator[Frame]:
        payload = bytes(memoryview(self._parts)[_HEAD:])
        if zlib.crc32(payload) != int(self._parts[9:_HEAD], 16):
            self._drop('its bytes do not fit its CRC')
            return
        frame = _parse(payload)
        if frame is None:
            self._drop('its header is no object with an op')
            return
        self._reset()
        yield frame

    def _drop(self, problem: str) -> None:
        self.skipped += len(self._parts)
        self.broken += 1
        self.problem = problem
        self._reset()

    def _reset(self) -> None:
        self._parts = bytearray()
        self._size = _HEAD


def _parse(payload: bytes) -> Frame | None:
    """Return what a frame holds; ``None``: no header with an ``op``."""
    text, _, body = payload.partition(b'\n')
    if len(text) > HEADER_MAX:
        return None
    try:
        header = jsontext.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if isinstance(header, dict) and isinstance(header.get('op'), str):
        return Frame(header, body)
    return None
