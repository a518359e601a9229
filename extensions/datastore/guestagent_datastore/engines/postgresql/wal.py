# SPDX-License-Identifier: Apache-2.0
"""Places in the write-ahead log (WAL), and the files that it is cut into; no I/O."""

from __future__ import annotations

import re

from guestagent import errors

#: A place in the log: two hexadecimal numbers of 32 bits.
_LSN = re.compile(r'([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z')


def number(lsn: str) -> int:
    """Return a place as the number of bytes before it.

    :raises guestagent.errors.InvalidArgument: it is none.
    """
    found = _LSN.match(lsn)
    if found is None:
        raise errors.InvalidArgument(
            f'{lsn[:40]!r} is no place in the WAL, as 0/3000060'
        )
    return int(found[1], 16) << 32 | int(found[2], 16)


def text(place: int) -> str:
    """Return a place as the server writes it."""
    return f'{place >> 32:X}/{place & 0xFFFFFFFF:X}'


def file_name(timeline: int, segment: int, size: int) -> str:
    """Return the name of the file of the segment of this number.

    :param size: of a segment, in bytes.
    """
    per = (1 << 32) // size
    return f'{timeline:08X}{segment // per:08X}{segment % per:08X}'


def segment(name: str, size: int) -> int:
    """Return the number of the segment in a file.

    :param size: of a segment, in bytes.
    """
    return int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:], 16)
