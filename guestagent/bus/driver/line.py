# SPDX-License-Identifier: Apache-2.0
"""One connection of a program to the hub, while it lasts; for threads."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
from typing import Any

from guestagent.bus import framing

#: How long the hub may take to answer a hello, and to read, in seconds.
ANSWER_SECONDS = 10.0
SEND_SECONDS = 30.0

#: What is read at once, in bytes.
CHUNK = 262144

#: The largest message that is taken from the hub; it sends no larger one than it takes.
BODY_MAX = 1024 * 1024 * 1024

_TIMEVAL = struct.Struct('ll')


class Line:
    """A connected socket: any thread writes, one reads.

    :ivar body_max: the largest message that the hub takes, in bytes.
    :raises OSError: nobody listens there.
    """

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self.body_max = 0
        try:
            # Not settimeout(): with that a connect does not wait for a busy hub.
            self._limit_sending(ANSWER_SECONDS)
            self._sock.connect(path)
            self._sock.settimeout(ANSWER_SECONDS)
        except BaseException:
            self._sock.close()
            raise
        self._decoder = framing.Decoder(BODY_MAX)

    def send(self, header: dict[str, Any], body: bytes = b'') -> None:
        """Send a frame, from any thread.

        :raises guestagent.bus.framing.Unsendable: it cannot be written.
        :raises OSError: it cannot be sent, and the connection is of no use any more.
        """
        if len(body) > self.body_max:
            raise framing.Unsendable(
                f'the message takes {len(body)} bytes; '
                f'the hub takes {self.body_max} at most'
            )
        data = framing.encode(header, body)
        try:
            with self._lock:
                self._sock.sendall(data)
        except OSError:
            # The thread that reads notices.
            self.shut()
            raise

    def greet(self) -> None:
        """Say who we are, and wait for the answer.

        :raises OSError: there is none, or it is a refusal.
        """
        name = os.path.basename(sys.argv[0]) or 'python'
        self.send(
            {'op': 'hello', 'v': framing.VERSION, 'role': 'program', 'name': name}
        )
        answer = next(iter(self.read()))
        if answer.op == 'bye':
            raise ConnectionRefusedError(f'the hub said: {answer.header.get("reason")}')
        if answer.op != 'hello' or answer.header.get('v') != framing.VERSION:
            raise ConnectionRefusedError('what answers is no hub of this version')
        self.body_max = int(answer.header['max'])
        self._sock.settimeout(None)
        self._limit_sending(SEND_SECONDS)

    def _limit_sending(self, seconds: float) -> None:
        limit = _TIMEVAL.pack(int(seconds), 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def limit_reading(self, seconds: float) -> None:
        """Let :meth:`read` return nothing if nothing comes for so long."""
        limit = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def read(self) -> list[framing.Frame]:
        """Wait for frames; return one at least, unless :meth:`limit_reading` says so.

        :raises OSError: the connection has ended.
        """
        while True:
            try:
                data = self._sock.recv(CHUNK)
            except BlockingIOError:
                return []
            if not data:
                raise ConnectionResetError('the hub closed the connection')
            frames = list(self._decoder.feed(data))
            if frames:
                return frames

    def wait(self, seconds: float | None) -> bool:
        """Return whether something has come, within so many seconds."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))

    def shut(self) -> None:
        """Let whoever reads notice the end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def close(self) -> None:
        """Close the socket; for the thread that reads."""
        self._sock.close()
