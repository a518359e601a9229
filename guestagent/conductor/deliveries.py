# SPDX-License-Identifier: Apache-2.0
"""Deliveries out of AMQP frames, without what a conductor does not read; no I/O.

py-amqp makes a message of each delivery, with all its properties, and keeps a body of
any size in memory.  Here it is a tag and a body, and of a body that is too large only
its size.  Sections 2.3.5 and 4.2.6 of the AMQP 0-9-1 specification: a method frame
(basic.deliver), a header frame, body frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from guestagent.bus import frames

METHOD, HEADER, BODY = 1, 2, 3

_DELIVER = b'\x00\x3c\x00\x3c'  # class basic, method deliver
_SIZE = struct.Struct('>Q')
#: In a header frame's payload: after the class and the weight.
_SIZE_PLACE = 4


class Delivery(NamedTuple):
    """A message; without a body, which was larger than is taken.

    :ivar tag: what is acknowledged.
    :ivar size: of the body, in bytes.
    """

    tag: int
    size: int
    body: bytes | None


class Assembler:
    """Puts the deliveries of one channel together; other frames it passes on.

    :param max_size: the largest body that is kept, in bytes.
    :param deliver: called with each delivery.
    :param other: called with each frame that is not part of one.
    """

    def __init__(
        self,
        channel: int,
        max_size: int,
        deliver: Callable[[Delivery], None],
        other: Callable[[frames.Frame], object],
    ) -> None:
        self._channel = channel
        self._max_size = max_size
        self._deliver = deliver
        self._other = other
        self._tag: int | None = None
        self._size = self._missing = 0
        self._pieces: list[bytes] = []

    def feed(self, frame: frames.Frame) -> None:
        """Take a frame.

        :raises guestagent.bus.frames.BadFrame: it makes no sense here.
        """
        kind, channel, payload = frame
        if channel != self._channel:
            self._other(frame)
        elif kind == BODY and self._missing:
            self._add(payload)
        elif kind == METHOD and payload[:4] == _DELIVER:
            # The consumer's tag, a text with its length before it, then the tag.
            (self._tag,) = _SIZE.unpack_from(payload, 5 + payload[4])
        elif kind == HEADER and self._tag is not None:
            (self._size,) = _SIZE.unpack_from(payload, _SIZE_PLACE)
            self._missing = self._size
            if not self._missing:
                self._end()
        elif kind in (HEADER, BODY):
            raise frames.BadFrame('a part of a message that nobody announced')
        else:
            self._other(frame)

    def _add(self, payload: bytes) -> None:
        self._missing -= len(payload)
        if self._missing < 0:
            raise frames.BadFrame('a message that is longer than was announced')
        if self._size <= self._max_size:
            self._pieces.append(payload)
        if not self._missing:
            self._end()

    def _end(self) -> None:
        assert self._tag is not None
        body = b''.join(self._pieces) if self._size <= self._max_size else None
        delivery = Delivery(self._tag, self._size, body)
        self._tag = None
        self._pieces = []
        self._deliver(delivery)
