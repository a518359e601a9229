# SPDX-License-Identifier: Apache-2.0
"""How records stand in a file, and how they are found again; no I/O.

The file is a header and, behind each other, frames::

    header  'guestrec'  kind, 8 bytes  version, u32  salt, u32  CRC-32, u32
    frame   FF 'rec'  length, u32  CRC-32, u32  payload

Numbers are little-endian.  The CRC of a frame is that of length and payload, begun with
the salt of the file, which is drawn at random: so nothing that somebody has put into a
payload looks like a frame of this file.  Behind the last frame there may be zeros: room
that was reserved.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

#: The largest payload, in bytes.
PAYLOAD_MAX = 16 * 1024 * 1024

_FILE_MARK = b'guestrec'
_FILE = struct.Struct('<8s8sII')
_CRC = struct.Struct('<I')
_FRAME_MARK = b'\xffrec'
_FRAME = struct.Struct('<4sII')

#: Bytes of the header of a file, and of what a frame adds to its payload.
HEADER_SIZE = _FILE.size + _CRC.size
FRAME_SIZE = _FRAME.size


class Damaged(Exception):
    """The header of a file is not whole, so nothing behind it can be read."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself.

    :ivar kind: what its records are about, 1 to 8 bytes.
    :ivar version: of the format of its records.
    :ivar salt: with which its CRCs begin.
    """

    kind: bytes
    version: int
    salt: int

    def encode(self) -> bytes:
        """Return the bytes at the beginning of the file."""
        head = _FILE.pack(_FILE_MARK, self.kind, self.version, self.salt)
        return head + _CRC.pack(zlib.crc32(head))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Return what stands at the beginning of ``data``.

        :raises Damaged: no header does.
        """
        head = data[: _FILE.size]
        if data[_FILE.size : HEADER_SIZE] != _CRC.pack(zlib.crc32(head)):
            raise Damaged('the header is damaged')
        mark, kind, version, salt = _FILE.unpack(head)
        if mark != _FILE_MARK:
            raise Damaged('it is no file of records')
        return cls(kind.rstrip(b'\0'), version, salt)

    def frame(self, payload: bytes) -> bytes:
        """Return the frame of a payload.

        :raises ValueError: it is larger than PAYLOAD_MAX.
        """
        if len(payload) > PAYLOAD_MAX:
            raise ValueError(
                f'a record takes {PAYLOAD_MAX} bytes at most, not {len(payload)}'
            )
        crc = self._crc(payload)
        return _FRAME.pack(_FRAME_MARK, len(payload), crc) + payload

    def payload(self, data: bytes, at: int) -> bytes | None:
        """Return the payload of the frame at ``at``; ``None``: no whole one is."""
        if data[at : at + 4] != _FRAME_MARK or len(data) < at + FRAME_SIZE:
            return None
        _, length, crc = _FRAME.unpack_from(data, at)
        begin = at + FRAME_SIZE
        if length > PAYLOAD_MAX or len(data) < begin + length:
            return None
        payload = data[begin : begin + length]
        return payload if self._crc(payload) == crc else None

    def _crc(self, payload: bytes) -> int:
        return zlib.crc32(payload, zlib.crc32(_CRC.pack(len(payload)), self.salt))


class Parser:
    """Finds the records in the bytes of a file; no I/O.

    The counts are complete when all records were iterated over.

    :ivar header: what the file says of itself.
    :ivar end: the offset behind the last whole frame.
    :ivar gaps: how many times something between two whole frames was damaged.
    :ivar skipped: how many bytes these are.
    :ivar dropped: how many bytes behind the last whole frame are none, without the
        zeros at the end.
    :raises Damaged: it has no header.
    """

    def __init__(self, data: bytes) -> None:
        self.header = Header.decode(data)
        self._data = data
        self.end = HEADER_SIZE
        self.gaps = self.skipped = self.dropped = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield the offset and the payload of each record, in their order."""
        data, at = self._data, HEADER_SIZE
        while at >= 0:
            payload = self.header.payload(data, at)
            if payload is None:
                at = data.find(_FRAME_MARK, at + 1)
                continue
            if at > self.end:
                self.gaps += 1
                self.skipped += at - self.end
            begin, at = at, at + FRAME_SIZE + len(payload)
            self.end = at
            yield begin, payload
        self.dropped = len(data[self.end :].rstrip(b'\0'))


def payload_size(head: bytes) -> int:
    """Return how many bytes follow the first FRAME_SIZE of a frame; 0: it is none."""
    if len(head) != FRAME_SIZE or not head.startswith(_FRAME_MARK):
        return 0
    return min(int(_FRAME.unpack(head)[1]), PAYLOAD_MAX)
