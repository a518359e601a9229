# SPDX-License-Identifier: Apache-2.0
"""Which process listens on a unix socket, as the kernel knows it."""

from __future__ import annotations

import pathlib
import socket
import struct


def listener(path: pathlib.Path) -> int:
    """Return the process that listens on a unix socket; 0: nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(3)
        try:
            connection.connect(str(path))
        except OSError:
            return 0
        return other_end(connection)


def other_end(connection: socket.socket) -> int:
    """Return the process that listens where this unix socket is connected."""
    # struct ucred of whoever called listen().
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize('3i')
    )
    pid: int = struct.unpack('3i', credentials)[0]
    return pid
