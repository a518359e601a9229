# SPDX-License-Identifier: Apache-2.0
"""AMQP 0-9-1 frames out of a stream of bytes; no I/O.

py-amqp reads a frame with three blocking reads, and hangs in one when a broker stops
in the middle.  This takes whatever has come and waits for nothing.  Section 4.2.3 of
the AMQP 0-9-1 specification: type (octet), channel (short), size (long), payload,
frame-end (0xCE).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Frame = tuple[int, int, bytes]

HEADER, BODY, HEARTBEAT = 2, 3, 8
FRAME_END = 0xCE
_HEADER = struct.Struct('>BHI')
#: Where in the payload of a header the size of the body stands.
_SIZE = struct.Struct('>Q')
_SIZE_START, _SIZE_END = 4, 12

#: How much of a message that is too large is kept: its end, in bytes.
END_KEPT = 65536


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


class SizeLimit:
    """Passes frames on, but of a message above a size only the end of its body.

    What a message's size is says its header, before any of it has come.  Section 4.2.6
    of the specification: a header's payload begins with class (short), weight (short)
    and body size (long long); then come properties.

    :param size_max: the largest body that is passed on whole, in bytes.
    :param take: py-amqp's handler of frames; it calls back with each message in the
        call that passes on the last frame.
    :ivar oversize: the true size of the message that is being passed on, in bytes, if
        that is only its end; otherwise 0.
    """

    def __init__(self, size_max: int, take: Callable[[Frame], object]) -> None:
        self.size_max = size_max
        self.oversize = 0
        self._take = take
        self._cut: dict[int, _Cut] = {}

    def take(self, frame: Frame) -> None:
        """Pass a frame on, or hold it back."""
        kind, channel, payload = frame
        if kind == HEADER and len(payload) >= _SIZE_END:
            (size,) = _SIZE.unpack_from(payload, _SIZE_START)
            if size > self.size_max:
                self._cut[channel] = _Cut(payload, size)
                return
        elif kind == BODY and channel in self._cut:
            if self._cut[channel].add(payload):
                self._pass_end(channel, self._cut.pop(channel))
            else:
                # It does not count as a sign of life otherwise.
                self._take((HEARTBEAT, 0, b''))
            return
        self._take(frame)

    def _pass_end(self, channel: int, cut: _Cut) -> None:
        header = (
            cut.header[:_SIZE_START] + _SIZE.pack(len(cut.end)) + cut.header[_SIZE_END:]
        )
        self.oversize = cut.size
        try:
            self._take((HEADER, channel, header))
            self._take((BODY, channel, cut.end))
        finally:
            self.oversize = 0


class _Cut:
    """A message of which only the end is kept."""

    __slots__ = ('_missing', 'end', 'header', 'size')

    def __init__(self, header: bytes, size: int) -> None:
        self.header = header
        self.size = size
        self.end = b''
        self._missing = size

    def add(self, payload: bytes) -> bool:
        """Take a piece of the body; return whether it was the last."""
        self._missing -= len(payload)
        self.end = (self.end + payload)[-END_KEPT:]
        return self._missing <= 0
