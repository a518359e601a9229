# SPDX-License-Identifier: Apache-2.0
"""The bus over a stream of bytes to a hub (doc/wire.rst, "The channel").

Everything is on the loop: a unix socket connects at once, or not at all.  The hub knows
who we are by the socket that we use.  A report is confirmed when the conductor has
acknowledged it; of a reply we hear only when nobody waits for it any more.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import logging
import socket
from collections.abc import Callable
from typing import Any, ClassVar

import guestagent
from guestagent import logs
from guestagent import loop as loops
from guestagent.bus import attempts, base, channel_line, envelope, framing, gone, outbox

LOG = logging.getLogger(__name__)

#: Between two attempts, in seconds; the hub is near.
RETRY = attempts.Retry(delay=0.25, splay=0.25, longest=5.0)

#: How long the hub may take to answer our hello, in seconds.
HELLO_SECONDS = 10.0

#: Of so many replies we still hear that nobody waited.
REPLIES_LENGTH = 1000

_SENT = {
    framing.Outcome.ACKNOWLEDGED: base.Sent.CONFIRMED,
    framing.Outcome.RETURNED: base.Sent.RETURNED,
    framing.Outcome.REJECTED: base.Sent.REJECTED,
    framing.Outcome.EXPIRED: base.Sent.REJECTED,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the bus behaves.

    :ivar path: of the hub's socket for this guest.
    :ivar prefetch: how many requests may be unacknowledged.
    :ivar max_message_size: the largest request that is read, in bytes.
    :ivar unsent_max: how many bytes may wait for a hub that does not read.
    """

    path: str
    prefetch: int
    max_message_size: int
    unsent_max: int


class Delivery(base.Delivery):
    """A request, and who must hear that it was taken."""

    __slots__ = ('_acknowledge', '_asked', '_body', '_size', '_size_max', '_tag')

    def __init__(
        self,
        header: dict[str, Any],
        body: bytes,
        size_max: int,
        acknowledge: Callable[[int], None],
        asked: Callable[[object], None],
    ) -> None:
        life = header.get('ttl')
        super().__init__(None if life is None else float(life))
        self._tag = int(header['tag'])
        self._body = body
        self._size = int(header.get('size', len(body)))
        self._size_max = size_max
        self._acknowledge = acknowledge
        self._asked = asked

    def read(self) -> envelope.Message:
        """See the base class."""
        body, self._body = self._body, b''
        if self._size > self._size_max:
            raise envelope.TooLarge(self._size, self._size_max, body)
        message = envelope.read(body)
        self._asked(message.reply_queue)
        return message

    def acknowledge(self) -> None:
        """See the base class."""
        self._acknowledge(self._tag)


class ChannelBus(base.Bus):
    """Requests in, replies and reports out, through a hub."""

    def __init__(self, loop: loops.Loop, settings: Settings) -> None:
        self._loop = loop
        self._settings = settings
        self._backoff = attempts.Backoff(RETRY)
        self._outbox = outbox.Outbox()
        self._line: channel_line.Line | None = None
        self._timer: loops.Timer | None = None
        self._paused = False
        self._numbers = itertools.count(1)
        self._body_max = settings.max_message_size
        self._reports: dict[int, Callable[[base.Sent], None]] = {}
        self._replies: collections.OrderedDict[int, outbox.Reply]
        self._replies = collections.OrderedDict()
        self._gone = gone.Gone()
        self._log_limit = logs.RateLimit()

    def start(
        self, received: Callable[[base.Delivery], None], connected: Callable[[], None]
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.start`."""
        self._received = received
        self._on_connected = connected
        self._connect()

    def reply(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None = None
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.reply`."""
        waiting = outbox.Reply(reply.queue, reply.body, done)
        for given_up in self._outbox.put(waiting):
            self._lose(given_up, 'too many wait for the hub')
        self._send_replies()

    def reply_at_once(self, reply: base.Reply) -> bool:
        """See :meth:`guestagent.bus.base.Bus.reply_at_once`."""
        line, body = self._line, reply.body.encode()
        if line is None or not self.connected or len(body) > self._body_max:
            return False
        number = self._remember(outbox.Reply(reply.queue, '', None))
        sent = line.send_now({'op': 'reply', 'id': number, 'to': reply.queue}, body)
        if not sent:
            self._replies.pop(number, None)
        return sent

    def report(self, body: str, done: Callable[[base.Sent], None]) -> None:
        """See :meth:`guestagent.bus.base.Bus.report`."""
        if not self.connected:
            done(base.Sent.LOST)
            return
        number = next(self._numbers)
        self._reports[number] = done
        self._write({'op': 'report', 'id': number}, body.encode())

    def is_gone(self, queue: str) -> bool:
        """See :meth:`guestagent.bus.base.Bus.is_gone`."""
        return queue in self._gone

    def reconnect(self, reason: str) -> None:
        """See :meth:`guestagent.bus.base.Bus.reconnect`."""
        if self._line is not None:
            self._line.close()
            self._lost(reason)

    def pause(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.pause`."""
        self._paused = True
        if self.connected:
            self._write({'op': 'take', 'prefetch': 0})

    def close(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.close`."""
        self.connected = False
        if self._timer is not None:
            self._timer.cancel()
        line, self._line = self._line, None
        if line is not None:
            line.acknowledge()
            line.send({'op': 'bye', 'reason': 'the agent stops'})
            line.flush()
            line.close()

    # The connection

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self._settings.path)
        except OSError as error:
            sock.close()
            self._retry(_explain(error))
            return
        self._line = channel_line.Line(
            self._loop,
            sock,
            self._read,
            lambda error: self._lost(str(error)),
            self._settings.unsent_max,
            self._settings.max_message_size,
        )
        self._timer = self._loop.call_later(HELLO_SECONDS, self._no_hello)
        self._write(
            {
                'op': 'hello',
                'v': framing.VERSION,
                'role': 'guest',
                'name': f'guestagent {guestagent.__version__}',
                'max': self._settings.max_message_size,
            }
        )

    def _no_hello(self) -> None:
        self._drop(f'the hub did not answer within {HELLO_SECONDS:g} s')

    def _drop(self, reason: str) -> None:
        if self._line is not None:
            self._line.close()
            self._lost(reason)

    def _lost(self, reason: str) -> None:
        """Connect again; whoever waits for an answer gets none."""
        line, self._line = self._line, None
        if line is None:
            return  # it ended while we closed it
        said = line.reason
        self.connected = False
        self._replies.clear()
        reports, self._reports = self._reports, {}
        for done in reports.values():
            done(base.Sent.LOST)
        self._retry(f'the hub said: {said}' if said else reason)

    def _retry(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = self._backoff.failed()
        LOG.warning(
            'hub at %s: %s; next attempt in %.1f s', self._settings.path, reason, wait
        )
        self._timer = self._loop.call_later(wait, self._connect)

    # What comes

    def _read(self, data: bytes) -> None:
        line = self._line
        if line is None:
            return
        broken = line.decoder.broken
        for frame in line.decoder.feed(data):
            if line is not self._line:
                return
            self._take(frame)
        if line.decoder.broken != broken:
            LOG.warning('hub: a broken frame: %s', line.decoder.problem)

    def _take(self, frame: framing.Frame) -> None:
        handle = self._OPS.get(frame.op)
        try:
            if handle is None:
                raise ValueError('no such op')
            handle(self, frame.header, frame.body)
        except (ValueError, KeyError, TypeError) as error:
            held = self._log_limit.allow('frame')
            if held is not None:
                LOG.warning(
                    'the hub sent a %.40r that makes no sense: %s: %s (%d more since '
                    'the last line like this)',
                    frame.op,
                    type(error).__name__,
                    error,
                    held,
                )

    def _hello(self, header: dict[str, Any], _body: bytes) -> None:
        if header['v'] != framing.VERSION:
            self._drop(f'it speaks version {header["v"]!r} of the channel')
            return
        self._body_max = int(header['max'])
        if self._timer is not None:
            self._timer.cancel()
        self._backoff.succeeded()
        LOG.info('connected to the hub at %s', self._settings.path)
        if not self._paused:
            self._write({'op': 'take', 'prefetch': self._settings.prefetch})
        self.connected = True
        self._send_replies()
        self._on_connected()

    def _deliver(self, header: dict[str, Any], body: bytes) -> None:
        assert self._line is not None
        # A tag counts in its connection: after that it is nobody's.
        acknowledge = self._line.owed.append
        size_max = self._settings.max_message_size
        self._received(Delivery(header, body, size_max, acknowledge, self._asked))

    def _asked(self, queue: object) -> None:
        """Somebody has asked who waits there: he is back if he was gone."""
        if isinstance(queue, str):
            self._gone.discard(queue)

    def _settled(self, header: dict[str, Any], _body: bytes) -> None:
        number = int(header['id'])
        outcome = framing.Outcome(header['outcome'])
        reply = self._replies.pop(number, None)
        if reply is not None:
            if outcome is framing.Outcome.RETURNED:
                self._gone.add(reply.key)
            self._lose(reply, str(header.get('reason', outcome.value)))
        done = self._reports.pop(number, None)
        if done is not None:
            done(_SENT[outcome])

    def _bye(self, header: dict[str, Any], _body: bytes) -> None:
        if self._line is not None:
            self._line.reason = str(header.get('reason', ''))[:200]

    _OPS: ClassVar[dict[str, Callable[..., None]]] = {
        'hello': _hello,
        'deliver': _deliver,
        'settled': _settled,
        'bye': _bye,
        'ping': lambda self, *_: self._write({'op': 'pong'}),
        'pong': lambda *_: None,
    }

    # What goes

    def _write(self, header: dict[str, Any], body: bytes = b'') -> None:
        if self._line is not None:
            self._line.send(header, body)

    def _send_replies(self) -> None:
        while self.connected:
            reply = self._outbox.take()
            if reply is None:
                return
            body = reply.body.encode()
            if len(body) > self._body_max:
                self._lose(reply, f'the hub takes {self._body_max} bytes at most')
                continue
            number = self._remember(reply)
            self._write({'op': 'reply', 'id': number, 'to': reply.key}, body)
            if reply.done is not None:
                reply.done(base.Sent.CONFIRMED)

    def _remember(self, reply: outbox.Reply) -> int:
        """Return the number of a reply that the hub may return; from any thread."""
        number = next(self._numbers)
        self._replies[number] = reply
        if len(self._replies) > REPLIES_LENGTH:
            self._replies.popitem(last=False)
        return number

    def _lose(self, reply: outbox.Reply, reason: str) -> None:
        """Note that nobody got this reply; nothing is repeated."""
        held = self._log_limit.allow('gone')
        if held is not None:
            LOG.info(
                'a reply to %s was returned: %s (%d more since the last line like '
                'this)',
                reply.key,
                reason,
                held,
            )
        if reply.done is not None:
            reply.done(base.Sent.RETURNED)


def _explain(error: OSError) -> str:
    """Say why a hub cannot be reached, and what to do if it is not there."""
    reason = error.strerror or str(error)
    if not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return reason
    return (
        f'{reason}: no hub runs there (transport_url is channel:// and the DIR of '
        f'guestagent-hub --listen DIR), or it does not know this guest yet (--guest '
        f'ID, or the first request to it); waiting for it'
    )
