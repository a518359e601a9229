# SPDX-License-Identifier: Apache-2.0
"""The guests' side of the hub: a guest is its socket, whatever it says.

It takes what is sent to its topic, and nothing else.  It replies only to queues that a
request to it has named, and reports only as itself.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from guestagent import errors, logs
from guestagent.bus import envelope, framing, topics
from guestagent.bus.framing import Outcome
from guestagent.hub import connection, queues, router

LOG = logging.getLogger(__name__)

#: How many reply queues a guest may still answer to: the latest that asked.
REPLIES_MAX = 1000

#: Of a request that a guest will not read, so much of the end is sent: it says who
#: asks.
END_KEPT = 65536

_PREFIX = topics.request_topic('')


class Guests:
    """All guests that have a socket.

    :param open_socket: makes the socket of a guest that somebody addresses for the
        first time; raises OSError.
    :param report_topic: where their reports go.
    """

    def __init__(
        self,
        routes: router.Router,
        open_socket: Callable[[str], None],
        report_topic: str,
        body_max: int,
    ) -> None:
        self.routes = routes
        self.body_max = body_max
        self.reports = router.Address(report_topic, topics.report_queue(report_topic))
        self.limit = logs.RateLimit()
        self._open_socket = open_socket
        self._guests: dict[str, Guest] = {}
        routes.find_guest = self._find

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def connected(self) -> int:
        """How many agents are connected."""
        return sum(guest.connected for guest in self._guests.values())

    def add(self, instance: str) -> Guest:
        """Return a guest, made where it is new; its socket is opened elsewhere."""
        guest = self._guests.get(instance)
        if guest is None:
            queue = self.routes.new_queue(f'guest {instance}', kept=True)
            guest = self._guests[instance] = Guest(self, instance, queue)
        return guest

    def expire(self) -> int:
        """Let go of what waited too long; return how many messages that were."""
        now = self.routes.expires(0)
        return sum(guest.queue.expire(now) for guest in self._guests.values())

    def close(self) -> None:
        """Take leave of all."""
        for guest in self._guests.values():
            guest.leave('the hub stops')

    def _find(self, address: router.Address, known: bool) -> queues.Queue | None:
        """Return the queue of the guest that an address names, if it names one.

        :param known: only if it has a socket already.
        """
        if not address.topic.startswith(_PREFIX):
            return None
        instance = address.topic[len(_PREFIX) :]
        if address.server not in ('', instance):
            return None
        guest = self._guests.get(instance)
        if guest is None and known:
            return None
        if guest is None:
            try:
                topics.check_instance_id(instance)
                self._open_socket(instance)
            except (errors.InvalidArgument, OSError) as error:
                held = self.limit.allow('open')
                if held is not None:
                    LOG.warning(
                        'guest %.200r, which a program addresses, gets no socket: %s '
                        '(%d more since the last line like this)',
                        instance,
                        error,
                        held,
                    )
                return None
            guest = self.add(instance)
        return guest.queue


class Guest:
    """One guest: its queue, and the connection of its agent while there is one."""

    __slots__ = (
        '_conn',
        '_met',
        '_replies',
        '_side',
        '_size_max',
        '_subscription',
        'instance',
        'queue',
    )

    def __init__(self, side: Guests, instance: str, queue: queues.Queue) -> None:
        self.instance = instance
        self.queue = queue
        self._side = side
        self._conn: connection.Connection | None = None
        self._subscription: queues.Subscription | None = None
        self._replies: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._met = False
        self._size_max = side.body_max

    @property
    def connected(self) -> bool:
        """Whether its agent is connected."""
        return self._conn is not None

    def accept(self, conn: connection.Connection) -> None:
        """Take a connection on its socket; there is one at a time."""
        if self._conn is not None:
            conn.owner = _Refused()
            conn.refuse(f'an agent of guest {self.instance} is connected already')
            self._complain('second', 'a second agent of guest %s was refused')
            return
        self._conn = conn
        self._met = False
        conn.owner = self
        conn.start()

    def leave(self, reason: str) -> None:
        """Say why, and close."""
        if self._conn is not None:
            self._conn.refuse(reason)

    def received(self, frame: framing.Frame) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        handle = self._OPS.get(frame.op)
        if handle is None:
            raise ValueError('no such op')
        if not self._met and frame.op != 'hello':
            self.leave('the first frame must be a hello')
            return
        handle(self, frame.header, frame.body)

    def room(self) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        self.queue.dispatch()

    def lost(self, reason: str) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        self._say('gone', 'guest %s has gone: %s', reason)
        self._conn = None
        if self._subscription is not None:
            self.queue.unsubscribe(self._subscription)
            self._subscription = None

    # A guest is the peer of its subscription, so that it sees what it is sent.

    @property
    def has_room(self) -> bool:
        """See :class:`guestagent.hub.queues.Peer`."""
        return self._conn is not None and self._conn.has_room

    def deliver(
        self, subscription: queues.Subscription, tag: int, message: queues.Message
    ) -> None:
        """See :class:`guestagent.hub.queues.Peer`."""
        if self._conn is None:
            return
        header = b'{"op":"deliver","tag":%d' % tag
        if message.timed:
            # Who asks waits no longer than that.
            left = message.expires - self._side.routes.expires(0)
            header += b',"ttl":%.3f' % max(left, 0.0)
        if message.reply:
            self._replies[message.reply] = None
            self._replies.move_to_end(message.reply)
            if len(self._replies) > REPLIES_MAX:
                self._replies.popitem(last=False)
        body = message.body
        if len(body) > self._size_max:
            header += b',"size":%d' % len(body)
            body = body[-END_KEPT:]
        self._conn.deliver_as(header, message, body)

    def settle(self, number: int, outcome: Outcome, reason: str) -> None:
        """See :class:`guestagent.hub.queues.Peer`."""
        if self._conn is not None:
            self._conn.settle(number, outcome, reason)

    def _hello(self, header: dict[str, Any], _body: bytes) -> None:
        assert self._conn is not None
        if header['v'] != framing.VERSION:
            self.leave(
                f'version {header["v"]!r} of the channel is not spoken here: '
                f'{framing.VERSION} is'
            )
            return
        if self._met:
            # What carries its bytes, as a port of virtio-serial does, does not tell
            # that an agent was killed.  The next one begins anew, with nothing that
            # was for the other.
            self.leave('another agent is at the end of this connection')
            return
        self._met = True
        self._size_max = int(header.get('max', self._side.body_max))
        self._conn.met()
        self._conn.send(
            {
                'op': 'hello',
                'v': framing.VERSION,
                'role': 'hub',
                'max': self._side.body_max,
                'instance': self.instance,
            }
        )
        self._say('connected', 'guest %s is connected')

    def _take(self, header: dict[str, Any], _body: bytes) -> None:
        """Deliver from now on, with so many unacknowledged; 0: no more."""
        prefetch = int(header['prefetch'])
        if self._subscription is None:
            self._subscription = self.queue.subscribe(self, 0, prefetch)
        else:
            self._subscription.prefetch = prefetch
            self.queue.dispatch()

    def _ack(self, header: dict[str, Any], _body: bytes) -> None:
        if self._subscription is not None:
            for tag in header['tags']:
                self.queue.acknowledge(self._subscription, int(tag))

    def _reply(self, header: dict[str, Any], body: bytes) -> None:
        name = str(header['to'])
        message = self._message(header, body, done=False)
        if name in self._replies:
            self._side.routes.reply(name, message)
        else:
            # Not RETURNED: who asked through an earlier hub may be there again.
            message.end(Outcome.REJECTED, 'nobody there has asked this guest')
            self._complain(
                'reply', 'guest %s replies to %r, which never asked it', name[:80]
            )

    def _report(self, header: dict[str, Any], body: bytes) -> None:
        message = self._message(header, body, done=True)
        problem = _forged(body, self.instance)
        if problem:
            message.end(Outcome.REJECTED, problem)
            self._complain('report', 'guest %s: a report was refused: %s', problem)
        else:
            self._side.routes.publish(self._side.reports, message)

    def _message(
        self, header: dict[str, Any], body: bytes, done: bool
    ) -> queues.Message:
        publication = None
        if 'id' in header:
            assert self._conn is not None
            # Of the connection: the numbers of the next one are others.
            publication = queues.Publication(self._conn, int(header['id']), done)
        return queues.Message(
            body, self._side.routes.expires(None), publication=publication
        )

    def _complain(self, key: str, text: str, *args: object) -> None:
        self._say(key, text, *args, level=logging.WARNING)

    def _say(
        self, key: str, text: str, *args: object, level: int = logging.INFO
    ) -> None:
        """Log it, but not as often as a guest likes."""
        held = self._side.limit.allow(f'{key} {self.instance}')
        if held is not None:
            more = f' ({held} more since the last line like this)' if held else ''
            LOG.log(level, text + more, self.instance, *args)

    _OPS: ClassVar[dict[str, Callable[..., None]]] = {
        'hello': _hello,
        'take': _take,
        'ack': _ack,
        'reply': _reply,
        'report': _report,
        'pong': lambda *_: None,
        'bye': lambda self, *_: self._conn.close('it said bye'),
    }


class _Refused:
    """Owns a connection that is closed at once."""

    def received(self, frame: framing.Frame) -> None:
        """Nothing is read from it."""

    def room(self) -> None:
        """Nothing waits for it."""

    def lost(self, reason: str) -> None:
        """Nobody misses it."""


def _forged(body: bytes, instance: str) -> str:
    """Return why a report cannot be from this guest; ``''``: it can."""
    try:
        report = envelope.read(body).body
    except envelope.Unreadable as error:
        return str(error)
    payload = report.get('payload')
    said: Iterable[object] = (
        report.get('publisher_id'),
        payload.get('instance') if isinstance(payload, dict) else None,
    )
    if tuple(said) != (topics.publisher_id(instance), instance):
        return 'it says that it is from another instance'
    return ''
