# SPDX-License-Identifier: Apache-2.0
"""The three calls of the kernel, on any descriptor of a file system."""

from __future__ import annotations

import errno
import fcntl
import struct

_FIFREEZE, _FITHAW, _FITRIM = 0xC0045877, 0xC0045878, 0xC0185879
_RANGE = struct.Struct('=QQQ')
_ALL = 2**64 - 1

#: What the kernel says of a file system that it cannot freeze, or trim.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY)


class Calls:
    """Each raises OSError, and may wait long."""

    def freeze(self, fd: int) -> None:
        """Have all that was written on the disk, and let nobody write."""
        fcntl.ioctl(fd, _FIFREEZE, 0)

    def thaw(self, fd: int) -> None:
        """Let everybody go on; EINVAL: it is not frozen."""
        fcntl.ioctl(fd, _FITHAW, 0)

    def trim(self, fd: int, minimum: int) -> tuple[int, int]:
        """Tell the device which blocks are not used.

        :param minimum: bytes; what lies in shorter pieces may be left out.
        :returns: how many bytes, and the minimum that counted.
        """
        data = bytearray(_RANGE.pack(0, _ALL, minimum))
        fcntl.ioctl(fd, _FITRIM, data)
        _, trimmed, used = _RANGE.unpack(data)
        return trimmed, used


def thaw_fully(calls: Calls, fd: int) -> bool:
    """Thaw a file system however often it is frozen; return whether it was.

    :raises OSError: it may be frozen still.
    """
    frozen = False
    while True:
        try:
            calls.thaw(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, *UNSUPPORTED):
                raise
            return frozen
        frozen = True
