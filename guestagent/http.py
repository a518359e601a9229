# SPDX-License-Identifier: Apache-2.0
"""A very small HTTP server on the loop: a few pages to read, and nothing else.

Each connection has one request, some seconds and some kilobytes; there are few at a
time.  Whatever does not fit is answered with an error or let go, so that a stranger who
reaches the port cannot hold up the program.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import NamedTuple

from guestagent import loop as loops
from guestagent.conf import listen

LOG = logging.getLogger(__name__)

#: Bounds of a request and of what may follow it, in bytes, of a connection, in seconds,
#: and of their number.
REQUEST_MAX = 8192
REST_MAX = 1024 * 1024
SECONDS = 10.0
CONNECTIONS = 16

_REASONS = {
    200: 'OK',
    400: 'Bad Request',
    404: 'Not Found',
    405: 'Method Not Allowed',
    431: 'Request Header Fields Too Large',
    503: 'Service Unavailable',
}

TEXT = 'text/plain; charset=utf-8'


class Answer(NamedTuple):
    """A page."""

    status: int
    text: str
    kind: str = TEXT


#: What makes a page; on the loop.
Page = Callable[[], Answer]


class Server:
    """Serves ``pages`` by their paths.

    :param where: see :func:`guestagent.conf.listen.parse`.
    """

    def __init__(
        self, loop: loops.Loop, where: listen.Where, pages: Mapping[str, Page]
    ) -> None:
        self._loop = loop
        self._where = where
        self._pages = pages
        self._socket: socket.socket | None = None
        self._open: set[_Connection] = set()

    def start(self) -> None:
        """Listen.

        :raises OSError: that cannot be; it says where.
        """
        try:
            self._socket = _listen(self._where)
        except OSError as error:
            where = self._where
            if not isinstance(where, str):
                where = ':'.join(map(str, where))
            raise OSError(
                error.errno, f'[metrics] listen: {where}: {error.strerror}'
            ) from None
        self._loop.watch(self._socket.fileno(), loops.READ, self._accept)

    def close(self) -> None:
        """Close it and all connections."""
        for connection in list(self._open):
            connection.close()
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
            if isinstance(self._where, str):
                os.unlink(self._where)

    def _accept(self, _events: int) -> None:
        if self._socket is None:
            return
        try:
            peer = self._socket.accept()[0]
        except OSError as error:
            # The peer has gone already, or there are no descriptors left.
            LOG.debug('accept: %s', error)
            return
        if len(self._open) >= CONNECTIONS:
            peer.close()
            return
        peer.setblocking(False)
        self._open.add(_Connection(self._loop, peer, self._answer, self._open.discard))

    def _answer(self, request: bytes) -> bytes:
        """Return the bytes that answer a request's head."""
        words = request.split(b'\n', 1)[0].decode('latin-1').split()
        if len(words) != 3 or not words[2].startswith('HTTP/1.'):
            return _encode(Answer(400, 'this is no HTTP request\n'))
        method, path = words[0], words[1].partition('?')[0]
        if method not in ('GET', 'HEAD'):
            return _encode(Answer(405, 'there is only GET here\n'))
        page = self._pages.get(path)
        if page is None:
            known = ', '.join(self._pages)
            return _encode(Answer(404, f'there is only {known}\n'))
        return _encode(page(), method == 'HEAD')


class _Connection:
    """One connection: its request is read, answered, and what follows thrown away."""

    def __init__(
        self,
        loop: loops.Loop,
        peer: socket.socket,
        answer: Callable[[bytes], bytes],
        closed: Callable[[_Connection], None],
    ) -> None:
        self._loop = loop
        self._peer = peer
        self._answer = answer
        self._closed = closed
        self._read = b''
        self._unsent = b''
        self._drained = 0
        self._timer = loop.call_later(SECONDS, self.close)
        loop.watch(peer.fileno(), loops.READ, self._receive)

    def close(self) -> None:
        """Close it, whatever state it is in."""
        self._timer.cancel()
        self._loop.unwatch(self._peer.fileno())
        self._peer.close()
        self._closed(self)

    def _receive(self, _events: int) -> None:
        data = self._recv()
        if data is None:
            return
        self._read += data
        head = self._read.replace(b'\r', b'')
        if b'\n\n' in head:
            self._begin(self._answer(head))
        elif len(self._read) > REQUEST_MAX:
            self._begin(_encode(Answer(431, 'the request is too long\n')))

    def _begin(self, answer: bytes) -> None:
        self._read = b''
        self._unsent = answer
        self._send(0)

    def _send(self, _events: int) -> None:
        try:
            sent = self._peer.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.watch(self._peer.fileno(), loops.WRITE, self._send)
            return
        # A close with something unread would take the answer back from the peer.
        try:
            self._peer.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._loop.watch(self._peer.fileno(), loops.READ, self._drain)

    def _drain(self, _events: int) -> None:
        self._drained += len(self._recv() or b'')
        if self._drained > REST_MAX:
            self.close()

    def _recv(self) -> bytes | None:
        """Return what came; without anything, at the end, close it."""
        try:
            data = self._peer.recv(REQUEST_MAX)
        except BlockingIOError:
            return None
        except OSError:
            data = b''
        if not data:
            self.close()
            return None
        return data


def _encode(answer: Answer, head_only: bool = False) -> bytes:
    body = answer.text.encode()
    head = (
        f'HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n'
        f'Content-Type: {answer.kind}\r\n'
        f'Content-Length: {len(body)}\r\n'
        'Cache-Control: no-store\r\n'
        'Connection: close\r\n\r\n'
    )
    return head.encode() + (b'' if head_only else body)


def _listen(where: listen.Where) -> socket.socket:
    if isinstance(where, str):
        _remove_stale(where)
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ':' in where[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(CONNECTIONS)
    except BaseException:
        made.close()
        raise
    return made


def _remove_stale(path: str) -> None:
    """Remove a socket that a process has left behind; not one that is in use."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
