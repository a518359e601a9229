# SPDX-License-Identifier: Apache-2.0
"""In the guest: carry bytes between a unix socket and a port of virtio-serial::

    python3 relay.py PORT SOCKET

One connection at a time has the port, which is closed with it.  While nobody has the
port's other end open, a connection is closed at once.
"""

import os
import select
import socket
import sys


def carry(conn: socket.socket, port: int) -> None:
    """Carry until one of both ends."""
    poll = select.poll()
    poll.register(conn, select.POLLIN)
    poll.register(port, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            data = os.read(ready, 65536)
            if not data:
                return
            if ready == port:
                conn.sendall(data)
                continue
            left = memoryview(data)
            while left:
                left = left[os.write(port, left) :]


def main(port: str, path: str) -> None:
    """Serve for good."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        os.chmod(path, 0o666)
        server.listen()
        while True:
            conn, _ = server.accept()
            descriptor = os.open(port, os.O_RDWR)
            try:
                with conn:
                    carry(conn, descriptor)
            except ConnectionError:
                pass  # the agent has gone in the middle
            finally:
                os.close(descriptor)


main(*sys.argv[1:])
