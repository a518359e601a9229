# SPDX-License-Identifier: Apache-2.0
"""One connection of an agent to its hub: what goes out, and the tags that it owes.

It belongs to the loop.  Only while the loop sleeps another thread may send a frame by
itself (:meth:`Line.send_now`): to wake the loop for it takes longer than to send it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from guestagent import loop as loops
from guestagent.bus import framing, stream

#: For how long an acknowledgement may wait for something that goes with it, in
#: seconds, and how many may: a call is answered soon, and the hub wakes up once.
ACKNOWLEDGE_SECONDS = 0.005
ACKNOWLEDGE_COUNT = 16


class Line(stream.Stream):
    """A connected socket that carries frames; what it holds ends with it.

    :param size_max: the largest body that is taken, in bytes.
    :ivar owed: the tags of what was taken and is not acknowledged yet; the loop adds.
    :ivar reason: why the hub said it would close.
    """

    def __init__(
        self,
        loop: loops.Loop,
        sock: socket.socket,
        received: Callable[[bytes], None],
        closed: Callable[[Exception], None],
        unsent_max: int,
        size_max: int,
    ) -> None:
        self.decoder = framing.Decoder(size_max)
        self.owed: list[int] = []
        self.reason = ''
        self._timers = loop
        # Held by who sends; reentrant, for a stream that ends says so meanwhile.
        self._lock = threading.RLock()
        # Whether something else goes to the hub in this round.
        self._sent = False
        self._waiting = False
        super().__init__(loop, sock, received, closed, unsent_max)

    def send(self, header: dict[str, Any], body: bytes = b'') -> None:
        """Send a frame at the end of this round."""
        with self._lock:
            self._sent = True
            self.write(framing.encode(header, body))

    def send_now(self, header: dict[str, Any], body: bytes) -> bool:
        """Send a frame, and what is owed, from any thread; return whether it has gone.

        If it has not, the loop must send it: it is awake, or something goes before.
        """
        if not self._timers.asleep or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._out or not self._open:
                return False
            count = len(self.owed)
            data = framing.encode(header, body) + self._acknowledgement(count)
            try:
                sent = self._sock.send(data)
            except OSError:
                # It takes nothing, or has ended: the loop finds out.
                return False
            del self.owed[:count]
            if sent < len(data):
                self._out += data[sent:]
                self._timers.call_soon(self.flush)
            return True
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Send what the socket takes now; acknowledge if it is not worth to wait."""
        with self._lock:
            if len(self.owed) >= ACKNOWLEDGE_COUNT or (self.owed and self._sent):
                self.acknowledge()
            elif self.owed and not self._waiting:
                self._waiting = True
                self._timers.call_later(ACKNOWLEDGE_SECONDS, self._waited)
            self._sent = False
            super().flush()

    def acknowledge(self) -> None:
        """Acknowledge, in one frame, all that is owed."""
        with self._lock:
            self.write(self._acknowledgement(len(self.owed)))
            self.owed.clear()

    def close(self) -> None:
        """See the base class."""
        with self._lock:
            super().close()

    def _waited(self) -> None:
        # The flush at the end of this round does it.
        self._waiting = False
        self._sent = True

    def _acknowledgement(self, count: int) -> bytes:
        if not count:
            return b''
        return framing.encode({'op': 'ack', 'tags': self.owed[:count]})
