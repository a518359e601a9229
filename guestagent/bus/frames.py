# SPDX-License-Identifier: Apache-2.0
"""AMQP 0-9-1 frames out of a stream of bytes; no I/O.

py-amqp reads a frame with three blocking reads, and hangs in one when a broker stops
in the middle.  This takes whatever has come and waits for nothing.  Section 4.2.3 of
the AMQP 0-9-1 specification: type (octet), channel (short), size (long), payload,
frame-end (0xCE).
"""

import struct
from collections.abc import Iterator

Frame = tuple[int, int, bytes]

FRAME_END = 0xCE
_HEADER = struct.Struct('>BHI')


class BadFrame(ConnectionError):
    """What came is no AMQP frame; the connection is of no use any more."""


class Splitter:
    """Cuts a stream into frames; holds the part of one that has not come yet."""

    def __init__(self, frame_max: int) -> None:
        # frame_max counts header and end octet; 0 means no limit.
        self._size_max = frame_max - 8 if frame_max else 0xFFFFFFFF
        self._rest = b''

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes; all of them must be taken.

        :raises BadFrame: the stream is out of step.
        """
        if self._rest:
            data = self._rest + data
        start, length = 0, len(data)
        while length - start >= _HEADER.size:
            kind, channel, size = _HEADER.unpack_from(data, start)
            if size > self._size_max:
                raise BadFrame(
                    f'a frame of {size} bytes, at most {self._size_max} were agreed'
                )
            end = start + _HEADER.size + size
            if end >= length:
                break
            if data[end] != FRAME_END:
                raise BadFrame(f'a frame ends in {data[end]:#04x}, not 0xce')
            payload = data[start + _HEADER.size : end]
            start = end + 1
            yield kind, channel, payload
        self._rest = data[start:] if start else data
