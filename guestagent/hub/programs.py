# SPDX-License-Identifier: Apache-2.0
"""The programs' side of the hub: whoever may open programs.sock may do all of this.

A program publishes to topics, takes from them, and waits at reply queues; these are
the words of doc/wire.rst, section "The channel".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from guestagent import logs
from guestagent.bus import framing, topics
from guestagent.bus.framing import Outcome
from guestagent.hub import connection, queues, router

LOG = logging.getLogger(__name__)

#: How many programs may be connected.
CONNECTIONS_MAX = 1000


class Programs:
    """All programs that are connected."""

    def __init__(self, routes: router.Router, body_max: int) -> None:
        self._routes = routes
        self._body_max = body_max
        self._connected: set[Program] = set()
        self._limit = logs.RateLimit()

    def __len__(self) -> int:
        return len(self._connected)

    def accept(self, conn: connection.Connection) -> None:
        """Take a new connection."""
        program = Program(self, self._routes, conn, self._body_max)
        conn.owner = program
        if len(self._connected) >= CONNECTIONS_MAX:
            held = self._limit.allow('full')
            if held is not None:
                LOG.warning(
                    '%s: refused, %d are connected (%d more since the last line like '
                    'this)',
                    conn.name,
                    CONNECTIONS_MAX,
                    held,
                )
            conn.refuse(f'{CONNECTIONS_MAX} programs are connected already')
            return
        self._connected.add(program)
        conn.start()

    def forget(self, program: Program) -> None:
        """A program has gone."""
        self._connected.discard(program)

    def close(self) -> None:
        """Take leave of all."""
        for program in list(self._connected):
            program.refuse('the hub stops')


class Program:
    """One connection; what is its own ends with it, a reply queue a while later."""

    def __init__(
        self,
        side: Programs,
        routes: router.Router,
        conn: connection.Connection,
        body_max: int,
    ) -> None:
        self._side = side
        self._routes = routes
        self._conn = conn
        self._body_max = body_max
        self._met = False
        self._bye = False
        # By their numbers; whether the queue is this program's own.
        self._subscriptions: dict[int, tuple[queues.Subscription, bool]] = {}

    def received(self, frame: framing.Frame) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        handle = self._OPS.get(frame.op)
        if handle is None:
            raise ValueError('no such op')
        if not self._met and frame.op != 'hello':
            self._conn.refuse('the first frame must be a hello')
            return
        handle(self, frame.header, frame.body)

    def room(self) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        for subscription, _ in list(self._subscriptions.values()):
            subscription.queue.dispatch()

    def lost(self, reason: str) -> None:
        """See :class:`guestagent.hub.connection.Owner`."""
        for subscription, own in self._subscriptions.values():
            if own and not self._bye:
                self._routes.leave(subscription)
            else:
                self._routes.unsubscribe(subscription, last=own)
        self._subscriptions.clear()
        self._side.forget(self)
        LOG.debug('%s has gone: %s', self._conn.name, reason)

    def refuse(self, reason: str) -> None:
        """Say why, and close."""
        self._conn.refuse(reason)

    def _hello(self, header: dict[str, Any], _body: bytes) -> None:
        if header['v'] != framing.VERSION:
            self._conn.refuse(
                f'version {header["v"]!r} of the channel is not spoken here: '
                f'{framing.VERSION} is'
            )
            return
        self._met = True
        self._conn.met()
        self._conn.name = f'{self._conn.name} ({header.get("name", "?")!r:.60})'
        LOG.debug('%s is connected', self._conn.name)
        self._conn.send(
            {'op': 'hello', 'v': framing.VERSION, 'role': 'hub', 'max': self._body_max}
        )

    def _publish(self, header: dict[str, Any], body: bytes) -> None:
        address = _address(header)
        message = self._message(header, body)
        taken = self._routes.publish(
            address,
            message,
            create=bool(header.get('create')),
            known=bool(header.get('mandatory')),
        )
        if taken and header.get('held'):
            self._conn.settle(int(header['id']), Outcome.HELD, '')

    def _reply(self, header: dict[str, Any], body: bytes) -> None:
        self._routes.reply(str(header['to']), self._message(header, body))

    def _message(self, header: dict[str, Any], body: bytes) -> queues.Message:
        publication = None
        if 'id' in header:
            publication = queues.Publication(
                self._conn, int(header['id']), bool(header.get('done'))
            )
        life = header.get('ttl')
        return queues.Message(
            body,
            self._routes.expires(None if life is None else float(life)),
            timed=life is not None,
            reply=str(header.get('reply', '')),
            publication=publication,
        )

    def _consume(self, header: dict[str, Any], _body: bytes) -> None:
        number, prefetch = int(header['sub']), int(header['prefetch'])
        if number in self._subscriptions:
            raise ValueError(f'subscription {number} is there already')
        own = 'reply' in header
        if own:
            queue = self._bind_reply(str(header['reply']))
        else:
            address = _address(header)
            own = address.fanout
            if own:
                queue = self._routes.bind_own(address)
            else:
                name, kept = str(header.get('queue', '')), bool(header.get('kept'))
                queue = self._routes.bind(address, name, kept)
        # Before what it delivers, so that a program knows what it gets.
        self._conn.send({'op': 'consuming', 'sub': number, 'waiting': len(queue)})
        acknowledges = not header.get('noack')
        subscription = queue.subscribe(self._conn, number, prefetch, acknowledges)
        self._subscriptions[number] = subscription, own

    def _bind_reply(self, name: str) -> queues.Queue:
        if not topics.is_reply_queue(name):
            raise ValueError(f'{name!r:.80} is no name of a reply queue: reply_*')
        queue = self._routes.bind_reply(name)
        if queue is None:
            raise ValueError(f'somebody waits at {name!r:.80} already')
        return queue

    def _prefetch(self, header: dict[str, Any], _body: bytes) -> None:
        subscription, _ = self._subscriptions[int(header['sub'])]
        subscription.prefetch = int(header['prefetch'])
        subscription.queue.dispatch()

    def _cancel(self, header: dict[str, Any], _body: bytes) -> None:
        subscription, own = self._subscriptions.pop(int(header['sub']))
        self._routes.unsubscribe(subscription, last=own)

    def _ack(self, header: dict[str, Any], _body: bytes) -> None:
        subscription, _ = self._subscriptions[int(header['sub'])]
        tags = header.get('tags')
        if tags is None:
            last = int(header['upto'])
            # Tags ascend in the order of delivery.
            tags = [tag for tag in subscription.unacknowledged if tag <= last]
        for tag in tags:
            subscription.queue.acknowledge(subscription, int(tag))

    def _take_leave(self, _header: dict[str, Any], _body: bytes) -> None:
        self._bye = True
        self._conn.close('it said bye')

    def _requeue(self, header: dict[str, Any], _body: bytes) -> None:
        subscription, _ = self._subscriptions[int(header['sub'])]
        subscription.queue.requeue(subscription, int(header['tag']))

    _OPS: ClassVar[dict[str, Callable[..., None]]] = {
        'hello': _hello,
        'publish': _publish,
        'reply': _reply,
        'consume': _consume,
        'prefetch': _prefetch,
        'cancel': _cancel,
        'ack': _ack,
        'requeue': _requeue,
        'pong': lambda *_: None,
        'bye': _take_leave,
    }


def _address(header: dict[str, Any]) -> router.Address:
    return router.Address(
        str(header['exchange']),
        str(header['topic']),
        str(header.get('server') or ''),
        bool(header.get('fanout')),
    )
