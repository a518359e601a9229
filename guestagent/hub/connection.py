# SPDX-License-Identifier: Apache-2.0
"""One connection of the hub: frames in, frames out, and no waiting for anybody.

What is sent is collected and written once a round of the loop.  A peer that does not
read is sent no more messages, and is not read from either until it has read: what it
costs the hub is bounded, and nobody else waits for it.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Protocol

from guestagent import logs
from guestagent import loop as loops
from guestagent.bus import framing
from guestagent.bus.framing import Outcome
from guestagent.hub import queues

LOG = logging.getLogger(__name__)

#: What is read at once, in bytes.
CHUNK = 65536

#: A peer whose frames cost more processor time at once, in seconds, is not read for so
#: many times as long: it takes no more than a part of the hub's time.
LONG_SECONDS = 0.05
REST_FACTOR = 4

#: With so many bytes unsent, a peer counts as one that does not read.
UNSENT_MAX = 1024 * 1024

#: How long a peer may take to say who it is, in seconds.
HELLO_SECONDS = 10.0

#: How long a peer may take from one frame to the end of the next that it has begun, in
#: seconds, and how many bytes of unfinished frames the hub holds.
FRAME_SECONDS = 60.0
UNFINISHED_MAX = 256 * 1024 * 1024

_LIMIT = logs.RateLimit()


class Owner(Protocol):
    """What a connection is for: a program, or a guest."""

    def received(self, frame: framing.Frame) -> None:
        """Take a frame.

        :raises ValueError, KeyError, TypeError: it makes no sense.
        """

    def room(self) -> None:
        """The peer reads again."""

    def lost(self, reason: str) -> None:
        """The connection is closed."""


class Writer:
    """What connections share: it flushes what was written in a round of the loop,
    before it waits."""

    def __init__(self, loop: loops.Loop) -> None:
        self._written: list[Connection] = []
        #: Bytes of frames that have begun and not ended, of all connections.
        self.unfinished = 0
        loop.before_wait.append(self.flush)

    def add(self, connection: Connection) -> None:
        """Note that it has something to write."""
        self._written.append(connection)

    def flush(self) -> None:
        """Write; what one connection does then may give another something to write."""
        while self._written:
            written, self._written = self._written, []
            for connection in written:
                connection.flush()


class Connection:
    """A socket with a peer behind it; a :class:`guestagent.hub.queues.Peer`.

    :ivar name: what the log calls it.
    :ivar owner: gets what comes.
    """

    __slots__ = (
        '_begun',
        '_decoder',
        '_dirty',
        '_events',
        '_hello',
        '_loop',
        '_out',
        '_resting',
        '_sock',
        '_unfinished',
        '_watched',
        '_writer',
        'closed',
        'name',
        'owner',
        'problem',
    )

    owner: Owner

    def __init__(
        self,
        loop: loops.Loop,
        writer: Writer,
        sock: socket.socket,
        name: str,
        body_max: int,
    ) -> None:
        self._loop = loop
        self._writer = writer
        self._sock = sock
        self._decoder = framing.Decoder(body_max)
        self._out = bytearray()
        self._dirty = False
        # Of a frame that has begun: its bytes, when it did, and who looks after it.
        self._unfinished = 0
        self._begun = 0.0
        self._watched = False
        self._resting = False
        self._events = loops.READ
        self.name = name
        self.problem = ''
        self.closed = False
        self._hello: loops.Timer | None = loop.call_later(HELLO_SECONDS, self._no_hello)

    def start(self) -> None:
        """Read what comes; :attr:`owner` is set."""
        self._loop.watch(self._sock.fileno(), self._events, self._ready)

    def met(self) -> None:
        """The peer has said who it is."""
        if self._hello is not None:
            self._hello.cancel()
            self._hello = None

    @property
    def has_room(self) -> bool:
        """See :class:`guestagent.hub.queues.Peer`."""
        return not self.closed and len(self._out) < UNSENT_MAX

    def send(self, header: dict[str, Any], body: bytes = b'') -> None:
        """Send a frame at the end of this round."""
        if self.closed:
            return
        self._send(framing.encode(header, body))

    def deliver_as(self, header: bytes, message: queues.Message, body: bytes) -> None:
        """Send a message, its header written but for the end, at the end of this
        round."""
        if self.closed:
            return
        end = b',"redelivered":true}' if message.redelivered else b'}'
        self._send(framing.join(header + end, body))

    def _send(self, data: bytes) -> None:
        self._out += data
        if not self._dirty:
            self._dirty = True
            self._writer.add(self)

    def deliver(
        self, subscription: queues.Subscription, tag: int, message: queues.Message
    ) -> None:
        """See :class:`guestagent.hub.queues.Peer`."""
        header = b'{"op":"deliver","sub":%d,"tag":%d' % (subscription.number, tag)
        self.deliver_as(header, message, message.body)

    def settle(self, number: int, outcome: Outcome, reason: str) -> None:
        """See :class:`guestagent.hub.queues.Peer`."""
        header: dict[str, Any] = {
            'op': 'settled',
            'id': number,
            'outcome': outcome.value,
        }
        if reason:
            header['reason'] = reason
        self.send(header)

    def flush(self) -> None:
        """Write what the socket takes now."""
        self._dirty = False
        if self.closed:
            return
        had_room = len(self._out) < UNSENT_MAX
        try:
            while self._out:
                sent = self._sock.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(f'{error.strerror or error}')
            return
        self._watch()
        if not had_room and self.has_room:
            self.owner.room()

    def refuse(self, reason: str) -> None:
        """Say why, and close."""
        self.send({'op': 'bye', 'reason': reason})
        self.flush()
        self.close(reason)

    def close(self, reason: str) -> None:
        """Close, and tell the owner."""
        if self.closed:
            return
        self.closed = True
        self.met()
        self._count_unfinished(0)
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._out = bytearray()
        self.owner.lost(reason)

    def _watch(self) -> None:
        """Wait for what is of use: nothing is read from who does not read."""
        reads = len(self._out) < UNSENT_MAX and not self._resting
        events = loops.READ if reads else 0
        if self._out:
            events |= loops.WRITE
        if events != self._events:
            self._events = events
            self._loop.watch(self._sock.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & loops.WRITE:
            self._writer.add(self)
        if events & ~loops.WRITE:
            self._read()

    def _read(self) -> None:
        """Read once: the others have their turn before the rest."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(f'{error.strerror or error}')
            return
        if not data:
            self.close('it closed the connection')
            return
        # Only so much can take long.
        much = bool(self._unfinished) or len(data) == CHUNK
        begun = time.thread_time() if much else 0.0
        broken = self._decoder.broken
        for frame in self._decoder.feed(data):
            if self.closed:
                return
            if self._unfinished:
                self._count_unfinished(0)
            self._take(frame)
        if self._decoder.pending != self._unfinished and not self.closed:
            self._count_unfinished(self._decoder.pending)
        if self._decoder.broken != broken:
            self._complain('sent a frame that is not one: ' + self._decoder.problem)
        if much and not self.closed:
            self._rest(time.thread_time() - begun)

    def _rest(self, took: float) -> None:
        """Read nothing for a while from who has just cost much time."""
        if took > LONG_SECONDS:
            self._resting = True
            self._watch()
            self._loop.call_later(took * REST_FACTOR, self._rested)

    def _rested(self) -> None:
        self._resting = False
        if not self.closed:
            self._watch()

    def _count_unfinished(self, size: int) -> None:
        """Note how much of a frame is here: it must end, and be one of not too many."""
        self._writer.unfinished += size - self._unfinished
        if not self._unfinished:
            self._begun = time.monotonic()
        self._unfinished = size
        if size and not self._watched:
            self._watched = True
            self._loop.call_later(FRAME_SECONDS, self._look_at_frame)
        if size > CHUNK and self._writer.unfinished > UNFINISHED_MAX:
            self.refuse(f'the hub holds {UNFINISHED_MAX} bytes of unfinished frames')

    def _take(self, frame: framing.Frame) -> None:
        if frame.op == 'ping':
            self.send({'op': 'pong'})
            return
        try:
            self.owner.received(frame)
        except (ValueError, KeyError, TypeError) as error:
            what = f'{type(error).__name__}: {error}'
            self._complain(f'sent a {frame.op!r:.40} that makes no sense: {what:.200}')

    def _no_hello(self) -> None:
        self._hello = None
        self.refuse(f'no hello within {HELLO_SECONDS:g} s')

    def _look_at_frame(self) -> None:
        """Give up the peer if the frame that is here has begun long ago."""
        self._watched = False
        if not self._unfinished:
            return
        left = self._begun + FRAME_SECONDS - time.monotonic()
        if left <= 0:
            self.refuse(f'a frame did not end within {FRAME_SECONDS:g} s')
            return
        self._watched = True
        self._loop.call_later(left, self._look_at_frame)

    def _complain(self, text: str) -> None:
        held = _LIMIT.allow(self.name)
        if held is not None:
            LOG.warning(
                '%s %s (%d more since the last line like this)', self.name, text, held
            )
