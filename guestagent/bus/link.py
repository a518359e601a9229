# SPDX-License-Identifier: Apache-2.0
"""One connection to one broker: opened by a thread that may wait, then the loop's.

py-amqp makes the connection, logs in, and keeps the protocol's state; the
sockets are read and written here, because their own reading blocks (bus/frames.py).
An error of the channel costs the channel; the connection stays.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Protocol

import amqp
from amqp import method_framing

from guestagent.bus import amqp_channel, base, envelope, frames, greeting, stream, url

if TYPE_CHECKING:
    from guestagent.bus import tls

LOG = logging.getLogger(__name__)

#: What a broken or refusing broker raises, on connecting and afterwards.
ERRORS = (OSError, amqp.exceptions.AMQPError)


@dataclasses.dataclass(frozen=True)
class Access:
    """How to get into any of the brokers.

    :ivar name: what the connection is called in the broker's lists.
    :ivar login_method: PLAIN, AMQPLAIN or EXTERNAL.
    :ivar tls: ``None``: plain TCP.
    :ivar heartbeat: asked for, in seconds; 0: none.
    :ivar timeout: seconds for each answer to the log-in.
    """

    virtual_host: str
    name: str
    login_method: str
    tls: tls.Tls | None
    heartbeat: float
    timeout: float


@dataclasses.dataclass(frozen=True)
class Limits:
    """What keeps the guest's memory from being filled, in bytes.

    :ivar max_message_size: the largest message that is taken whole.
    :ivar unsent_max: how much may wait to be sent; beyond it the broker counts as
        lost.
    """

    max_message_size: int
    unsent_max: int


class Owner(Protocol):
    """What a link tells, on the loop."""

    def on_up(self) -> None:
        """Everything is declared and consumed: messages can be sent and come in."""

    def on_channel_lost(self, reason: Exception) -> None:
        """The broker has closed the channel; no confirm comes any more."""

    def on_cancelled(self) -> None:
        """The broker has ended the consuming: the queue is gone."""

    def on_lost(self, reason: Exception) -> None:
        """The connection is lost; this is the last call."""

    def on_delivery(self, delivery: base.Delivery) -> None:
        """A message came."""

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """The broker has, or will not have, what was published."""

    def on_return(self, tag: int) -> None:
        """What was published under this tag has no queue; its confirm follows."""

    def on_blocked(self, blocked: bool) -> None:
        """The broker, short of memory or disk, takes nothing from us, or does again."""


class RabbitDelivery(base.Delivery):
    """A delivery that knows its channel and tag.

    :param limit: how messages come in; it may have kept only the end of this one.
    """

    __slots__ = ('_body', '_channel', '_size', '_size_max', '_tag')

    def __init__(self, message: Any, limit: frames.SizeLimit) -> None:
        super().__init__(_lifetime(message.properties))
        self._body = message.body
        self._size, self._size_max = limit.oversize, limit.size_max
        self._channel = message.channel
        self._tag = message.delivery_tag

    def read(self) -> envelope.Message:
        """See the base class."""
        body, self._body = self._body, b''
        if self._size:
            raise envelope.TooLarge(self._size, self._size_max, body)
        return envelope.read(body)

    def acknowledge(self) -> None:
        """Acknowledge, unless the channel that brought it is gone."""
        self._channel.acknowledge(self._tag)


class Link:
    """A connection, and the one channel of a guest on it."""

    def __init__(self, broker: url.Broker, access: Access) -> None:
        """Connect and log in; waits, so not for the loop's thread.

        :raises OSError, amqp.exceptions.AMQPError: it did not work.
        :raises guestagent.errors.ConfigError: a file of TLS is of no use.
        """
        self.broker = broker
        if access.tls is not None:
            access.tls.check()
        self._amqp = greeting.Connection(
            str(broker),
            userid=broker.username,
            password=broker.password,
            login_method=access.login_method,
            virtual_host=access.virtual_host,
            ssl=access.tls.parameters(broker.hostname) if access.tls else False,
            heartbeat=access.heartbeat,
            connect_timeout=access.timeout,
            # A broker that hangs in the middle of a handshake ends it.
            read_timeout=access.timeout,
            write_timeout=access.timeout,
            client_properties={'product': 'guestagent', 'connection_name': access.name},
        )
        try:
            self._amqp.connect()
        except BaseException:
            self._amqp.collect()
            raise
        # The broker knows that we want to be told.  With it here, py-amqp would read
        # a frame before each publish, and so call us back in the middle of our own
        # sending.
        self._amqp.client_properties.get('capabilities', {}).pop(
            'connection.blocked', None
        )
        self._stream_type = stream.Stream if access.tls is None else access.tls.stream
        self._stream: stream.Stream | None = None
        self._channel: amqp_channel.GuestChannel | None = None
        self._consuming = False

    def attach(self, loop: stream.Poller, owner: Owner, limits: Limits) -> None:
        """Give the connection to the loop."""
        self._owner = owner
        self._limit = frames.SizeLimit(limits.max_message_size, self._on_frame)
        self._splitter = frames.Splitter(self._amqp.frame_max)
        self._amqp.on_blocked = lambda _reason: owner.on_blocked(True)
        self._amqp.on_unblocked = lambda: owner.on_blocked(False)
        # Taken away from py-amqp, which would close it in the middle of a frame's
        # handling and so let its number be another socket's before we know.
        transport = self._amqp.transport
        sock, transport.sock = transport.sock, None
        self._stream = self._stream_type(
            loop, sock, self._on_bytes, self.fail, limits.unsent_max
        )
        self._amqp.frame_writer = method_framing.frame_writer(self._amqp, self._stream)
        self._stream.read_pending()

    def open(self, layout: amqp_channel.Layout, consume: bool) -> None:
        """Open the channel; it is ready when the owner is told ``on_up``."""
        if self._stream is None:
            return
        owner = self._owner
        self._consuming = consume
        self._channel = channel = amqp_channel.GuestChannel(
            self._amqp,
            layout,
            ready=owner.on_up,
            closed=self._on_channel_closed,
            cancelled=owner.on_cancelled,
            received=lambda message: owner.on_delivery(
                RabbitDelivery(message, self._limit)
            ),
        )
        channel.events['basic_ack'].add(
            lambda tag, multiple: owner.on_confirm(tag, multiple, True)
        )
        channel.events['basic_nack'].add(
            lambda tag, multiple: owner.on_confirm(tag, multiple, False)
        )
        channel.events['basic_return'].add(
            lambda _error, _exchange, _key, message: self._on_return(message)
        )
        channel.begin(consume)
        if consume and layout.declared:
            amqp_channel.Probe(
                self._amqp, layout, lambda: self._adopt(layout.server_queue)
            )

    def declare(self) -> None:
        """Declare all once more, in case somebody has deleted some."""
        if self._channel is not None:
            self._channel.declare()

    def consume(self, queue: str) -> None:
        """Take the messages of a queue."""
        if self._channel is not None:
            self._channel.consume(queue)

    def publish(self, exchange: str, key: str, body: str) -> int | None:
        """Publish; return the tag of its confirm, or ``None``: it is closed."""
        if self._channel is None:
            return None
        return self._channel.publish(exchange, key, body)

    def cancel(self) -> None:
        """Take no more messages."""
        self._consuming = False
        if self._channel is not None:
            self._channel.cancel()

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

    def fail(self, reason: Exception) -> None:
        """Give the connection up."""
        if self._stream is not None:
            self._discard()
            self._owner.on_lost(reason)

    def close(self) -> None:
        """Tell the broker that we leave, and leave without waiting for it."""
        if self._stream is not None:
            self._amqp.send_method(amqp.spec.Connection.Close, 'BsBB', (0, '', 0, 0))
            self._stream.flush()
        self._discard()

    def _discard(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._channel = None
        self._amqp.collect()

    def _on_bytes(self, data: bytes) -> None:
        """Take what came; what cannot be understood ends the connection."""
        try:
            for frame in self._splitter.feed(data):
                self._limit.take(frame)
        except ERRORS as error:
            self.fail(error)
        except Exception:
            # The rest of the bytes is lost with it, and so the step.
            LOG.exception('what RabbitMQ sent could not be handled')
            self.fail(ConnectionError('what it sent could not be handled'))

    def _on_frame(self, frame: frames.Frame) -> None:
        # What RabbitMQ had under way for a channel when it closed it comes after that.
        channels = self._amqp.channels
        if channels is None or frame[1] in channels:
            self._amqp.on_inbound_frame(frame)

    def _on_channel_closed(self, reason: Exception) -> None:
        self._channel = None
        self._owner.on_channel_lost(reason)

    def _on_return(self, message: Any) -> None:
        try:
            self._owner.on_return(int(message.properties['message_id']))
        except (KeyError, ValueError):
            LOG.warning('RabbitMQ returned a message that this agent did not send')

    def _adopt(self, queue: str) -> None:
        LOG.info('a stock server has left the queue %s: taking what is in it', queue)
        if self._consuming:
            self.consume(queue)


def _lifetime(properties: dict[str, Any]) -> float | None:
    """Return the seconds in ``expiration`` (text, milliseconds), if it is sane."""
    text = properties.get('expiration')
    if not text:
        return None
    try:
        return int(text) / 1000
    except ValueError:
        return None
