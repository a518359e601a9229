# SPDX-License-Identifier: Apache-2.0
"""Ask a PostgreSQL server for a number in its own protocol, with no library.

It is asked every few seconds as long as the guest lives: a library for that alone would
be five megabytes of the guest's memory.  The protocol is version 3.0 of PostgreSQL's
documentation, chapter "Frontend/Backend Protocol".
"""

from __future__ import annotations

import pathlib
import socket
import struct
import time

from guestagent_datastore import models

#: SQLSTATE of a user that the server does not know, or does not let in.
NO_SUCH_USER = '28000'
#: The protocol's version.
_VERSION = 3 << 16
#: A longer message is no answer to our question.
_MESSAGE_MAX = 1 << 20


class Refused(Exception):
    """The server has answered with an error.

    :ivar code: its SQLSTATE.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def ask(path: pathlib.Path, user: str, seconds: float = 3.0) -> models.State:
    """Return how the server on this unix socket is, for a user that needs no password.

    :raises Refused: it serves others, but not this user.
    """
    until = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return 'shutdown'
        except OSError:
            return 'running'
        try:
            converse(connection, user, until)
        except Refused as error:
            if error.code == NO_SUCH_USER:
                raise
            return 'running'
        except OSError:
            return 'running'
    return 'healthy'


def converse(connection: socket.socket, user: str, until: float) -> None:
    """Log in, have ``SELECT 1`` answered, and leave.

    :raises Refused: the server says no.
    :raises OSError: it says nothing, or goes away.
    """
    words = f'user\0{user}\0database\0postgres\0\0'.encode()
    connection.sendall(struct.pack('!ii', 8 + len(words), _VERSION) + words)
    _await_ready(connection, until)
    connection.sendall(_message(b'Q', b'SELECT 1\0'))
    _await_ready(connection, until)
    connection.sendall(_message(b'X', b''))


def _await_ready(connection: socket.socket, until: float) -> None:
    """Read messages until the server is ready for a query."""
    while True:
        kind, body = _receive(connection, until)
        if kind == b'Z':
            return
        if kind == b'E':
            raise Refused(_code(body))
        if kind == b'R' and body[:4] != b'\0\0\0\0':
            raise Refused(NO_SUCH_USER)  # it wants a password


def _code(body: bytes) -> str:
    """Return the SQLSTATE of an error: fields of a letter and a text each."""
    for field in body.split(b'\0'):
        if field[:1] == b'C':
            return field[1:].decode('ascii', 'replace')
    return ''


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack('!i', 4 + len(body)) + body


def _receive(connection: socket.socket, until: float) -> tuple[bytes, bytes]:
    head = _read(connection, 5, until)
    size = struct.unpack('!i', head[1:])[0]
    if not 4 <= size <= _MESSAGE_MAX:
        raise ConnectionError('this is not PostgreSQL')
    return head[:1], _read(connection, size - 4, until)


def _read(connection: socket.socket, size: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError('the server does not come to an end')
        connection.settimeout(left)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError('the server has closed the connection')
        data += chunk
    return bytes(data)
