# SPDX-License-Identifier: Apache-2.0
"""One connection to one broker: opened by a thread that may wait, then the loop's.

kombu and py-amqp make the connection, log in, and keep the protocol's state; the
sockets are read and written here, because their own reading blocks (bus/frames.py).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import amqp
import kombu
from amqp import method_framing

from guestagent.bus import base, envelope, frames, stream, url

LOG = logging.getLogger(__name__)

#: What a broken or refusing broker raises, on connecting and afterwards.
ERRORS = (OSError, amqp.exceptions.AMQPError)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is declared and consumed (doc/wire.rst, section 1)."""

    exchange: str
    topic: str
    server: str
    report_exchange: str
    durable: bool
    quorum: bool
    prefetch: int
    max_message_size: int


class RabbitDelivery(base.Delivery):
    """A delivery that knows its link and tag.

    :param limit: how messages come in; it may have kept only the end of this one.
    """

    __slots__ = ('_body', '_link', '_size', '_size_max', '_tag')

    def __init__(self, link: Link, message: Any, limit: frames.SizeLimit) -> None:
        super().__init__(_lifetime(message.properties))
        self._body = message.body
        self._size, self._size_max = limit.oversize, limit.size_max
        self._link = link
        self._tag = message.delivery_tag

    def read(self) -> envelope.Message:
        """See the base class."""
        body, self._body = self._body, b''
        if self._size:
            raise envelope.TooLarge(self._size, self._size_max, body)
        return envelope.read(body)

    def acknowledge(self) -> None:
        """Acknowledge, unless the connection that brought it is gone."""
        self._link.acknowledge(self._tag)


class Link:
    """A connection with one channel in confirm mode, which consumes one queue.

    And a second one where a stock server has left it (:meth:`_adopt`).
    """

    def __init__(
        self,
        broker: url.Broker,
        virtual_host: str,
        layout: Layout,
        name: str,
        heartbeat: float,
        connect_timeout: float,
    ) -> None:
        """Connect, log in and declare; waits, so not for the loop's thread.

        :raises OSError, amqp.exceptions.AMQPError: it did not work.
        """
        self.broker = broker
        self._layout = layout
        connection = kombu.Connection(
            hostname=broker.hostname,
            port=broker.port,
            userid=broker.username,
            password=broker.password,
            virtual_host=virtual_host,
            transport='pyamqp',
            heartbeat=heartbeat,
            connect_timeout=connect_timeout,
            transport_options={
                # A broker that hangs in the middle of a handshake ends it.
                'read_timeout': connect_timeout,
                'write_timeout': connect_timeout,
                'client_properties': {'product': 'guestagent', 'connection_name': name},
            },
        )
        self._amqp = connection.transport.establish_connection()
        # With it py-amqp would read a frame before each publish, and so call us
        # back in the middle of our own sending.
        self._amqp.client_properties.get('capabilities', {}).pop(
            'connection.blocked', None
        )
        self._stream: stream.Stream | None = None
        self._published = 0
        try:
            self._channel = self._amqp.channel()
            self._queues = [layout.topic]
            self._declare()
            self._adopt(f'{layout.topic}.{layout.server}')
        except BaseException:
            self._amqp.collect()
            raise

    def attach(
        self,
        loop: stream.Poller,
        received: Callable[[base.Delivery], None],
        answered: Callable[[int, bool, bool], None],
        returned: Callable[[Any], None],
        lost: Callable[[Exception], None],
    ) -> None:
        """Give the connection to the loop and begin to consume.

        :param answered: called with (tag, multiple, accepted) for each confirm.
        :param returned: called with each returned message.
        :param lost: called once with the reason when the connection is lost.
        """
        self._lost = lost
        splitter = frames.Splitter(self._amqp.frame_max)
        limit = frames.SizeLimit(
            self._layout.max_message_size, self._amqp.on_inbound_frame
        )

        def on_bytes(data: bytes) -> None:
            try:
                for frame in splitter.feed(data):
                    limit.take(frame)
            except ERRORS as error:
                self.fail(error)

        # Taken away from py-amqp, which would close it in the middle of a frame's
        # handling and so let its number be another socket's before we know.
        transport = self._amqp.transport
        sock, transport.sock = transport.sock, None
        self._stream = stream.Stream(loop, sock, on_bytes, self.fail)
        self._amqp.frame_writer = method_framing.frame_writer(self._amqp, self._stream)
        channel = self._channel
        channel.events['basic_ack'].add(
            lambda tag, multiple: answered(tag, multiple, True)
        )
        channel.events['basic_nack'].add(
            lambda tag, multiple: answered(tag, multiple, False)
        )
        channel.events['basic_return'].add(
            lambda _exception, _exchange, _key, message: returned(message)
        )
        self._consume(lambda message: received(RabbitDelivery(self, message, limit)))
        self._stream.read_pending()

    def publish(self, exchange: str, key: str, body: str) -> int:
        """Publish persistent and mandatory; return the tag of its confirm."""
        self._published += 1
        message = amqp.Message(
            body,
            content_type='application/json',
            content_encoding='utf-8',
            application_headers={},
            delivery_mode=2,
            priority=0,
            message_id=str(self._published),
        )
        self._channel.basic_publish(message, exchange, key, mandatory=True)
        return self._published

    def acknowledge(self, tag: int) -> None:
        """Acknowledge a delivery; nothing happens when the link is closed."""
        if self._stream is not None:
            self._channel.basic_ack(tag)

    def cancel(self) -> None:
        """Take no more messages."""
        for tag in self._queues:
            self._channel.basic_cancel(tag, nowait=True)

    def tick(self) -> None:
        """Send a heartbeat if one is due, and judge the broker's silence."""
        try:
            self._amqp.heartbeat_tick()
        except ERRORS:
            self.fail(
                ConnectionError(
                    f'no sign of life for {2 * self._amqp.heartbeat:.0f} seconds'
                )
            )

    @property
    def tick_interval(self) -> float | None:
        """Seconds between two calls of :meth:`tick`; ``None``: never."""
        return self._amqp.heartbeat / 3 if self._amqp.heartbeat else None

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return self._stream.unsent if self._stream is not None else 0

    def fail(self, reason: Exception) -> None:
        """Give the connection up."""
        if self._stream is not None:
            self._discard()
            self._lost(reason)

    def close(self) -> None:
        """Tell the broker that we leave, and leave without waiting for it."""
        if self._stream is None:
            return
        self._amqp.send_method(amqp.spec.Connection.Close, 'BsBB', (0, '', 0, 0))
        self._stream.flush()
        self._discard()

    def _discard(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._amqp.collect()

    def _declare(self) -> None:
        """Declare with oslo.messaging's flags, and bind all that is for this guest."""
        layout, channel = self._layout, self._channel
        durable = layout.durable or layout.quorum
        fanout = f'{layout.topic}_fanout'
        arguments = {'x-queue-type': 'quorum'} if layout.quorum else {}
        channel.exchange_declare(
            layout.exchange, 'topic', durable=durable, auto_delete=False
        )
        channel.exchange_declare(fanout, 'fanout', durable=False, auto_delete=True)
        channel.exchange_declare(
            layout.report_exchange, 'topic', durable=True, auto_delete=False
        )
        channel.queue_declare(
            layout.topic, durable=durable, auto_delete=False, arguments=arguments
        )
        for key in (layout.topic, f'{layout.topic}.{layout.server}'):
            channel.queue_bind(layout.topic, layout.exchange, key)
        channel.queue_bind(layout.topic, fanout, layout.topic)
        channel.basic_qos(0, layout.prefetch, False)
        channel.confirm_select()

    def _adopt(self, server_queue: str) -> None:
        """Consume the server queue too if a stock server of this guest has left one.

        Asked on a channel of its own, because a queue that is not there closes it.
        The binding is taken away: what is sent from now on comes once.
        """
        probe = self._amqp.channel()
        try:
            probe.queue_declare(server_queue, passive=True)
        except amqp.NotFound:
            pass
        else:
            probe.queue_unbind(server_queue, self._layout.exchange, server_queue)
            self._queues.append(server_queue)
        probe.close()

    def _consume(self, callback: Callable[[Any], None]) -> None:
        for queue in self._queues:
            self._channel.basic_consume(
                queue, consumer_tag=queue, nowait=True, callback=callback
            )


def _lifetime(properties: dict[str, Any]) -> float | None:
    """Return the seconds in ``expiration`` (text, milliseconds), if it is sane."""
    text = properties.get('expiration')
    if not text:
        return None
    try:
        return int(text) / 1000
    except ValueError:
        return None
