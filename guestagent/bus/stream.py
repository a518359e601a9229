# SPDX-License-Identifier: Apache-2.0
"""A connected socket on the agent's loop: it never blocks, and it writes in bulk."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import ClassVar, Protocol

#: What is read at once; a broker's frames are at most twice as large.
CHUNK = 65536


class Poller(Protocol):
    """The part of the agent's loop that a stream needs."""

    before_wait: list[Callable[[], None]]

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call back when ``fd`` is ready."""

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``."""


READ, WRITE = 0x001, 0x004  # EPOLLIN, EPOLLOUT


class Stream:
    """Reads what comes, and sends what was written once a round.

    :param received: called with each piece of bytes that came.
    :param closed: called once with the reason, when the stream ends by itself;
        not after :meth:`close`.
    :param unsent_max: how many bytes may wait to be sent, at the end of a round,
        before the peer counts as one that does not read any more.
    :cvar not_ready: what a socket raises that would have to wait.
    """

    not_ready: ClassVar[tuple[type[OSError], ...]] = (BlockingIOError,)

    def __init__(
        self,
        loop: Poller,
        sock: socket.socket,
        received: Callable[[bytes], None],
        closed: Callable[[Exception], None],
        unsent_max: int,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._received = received
        self._closed = closed
        self._unsent_max = unsent_max
        self._out = bytearray()
        self._open = True
        self._writing = False
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)
        loop.before_wait.append(self.flush)

    def write(self, data: bytes | memoryview) -> None:
        """Take ``data`` (copied) to be sent at the end of this round."""
        self._out += data

    def flush(self) -> None:
        """Send what the socket takes now."""
        if not self._out or not self._open:
            return
        try:
            while self._out:
                # TLS takes a record at a time.
                sent = self._sock.send(self._out)
                del self._out[:sent]
        except self.not_ready:
            pass
        except OSError as error:
            self._end(error)
            return
        if len(self._out) > self._unsent_max:
            self._end(
                OSError(f'{len(self._out)} bytes wait to be sent: it does not read')
            )
            return
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            self._loop.watch(
                self._sock.fileno(),
                READ | WRITE if self._writing else READ,
                self._ready,
            )

    def read_pending(self) -> None:
        """Read what TLS has taken from the socket already, which no poll reports."""
        self._read()

    def close(self) -> None:
        """Close the socket; nothing is called back any more."""
        if not self._open:
            return
        self._open = False
        self._loop.before_wait.remove(self.flush)
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()

    def _ready(self, events: int) -> None:
        if events & ~WRITE:
            self._read()
        if events & WRITE:
            self.flush()

    def _read(self) -> None:
        while self._open:
            try:
                data = self._sock.recv(CHUNK)
            except self.not_ready:
                return
            except OSError as error:
                self._end(error)
                return
            if not data:
                self._end(ConnectionResetError('the peer closed the connection'))
                return
            self._received(data)
            if len(data) < CHUNK and not self._holds_more():
                return

    def _holds_more(self) -> bool:
        """Whether the socket holds what no poll reports."""
        return False

    def _end(self, reason: Exception) -> None:
        if self._open:
            self.close()
            self._closed(reason)
