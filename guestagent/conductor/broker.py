# SPDX-License-Identifier: Apache-2.0
"""The report queue: where the broker is, and a consumer on one connection.

oslo.messaging's own listener is not used: it takes one message at a time through many
layers, and cannot acknowledge a whole batch at once.  Its options are.
"""

from __future__ import annotations

import collections
import os
import random
import socket
import time
from typing import Any, NamedTuple

import amqp
import kombu
import oslo_messaging

from guestagent import errors
from guestagent.bus import frames, tls, topics, where
from guestagent.conductor import deliveries

#: What may go wrong with a connection; none of it is final.
LOST = (OSError, amqp.AMQPError)

#: Limits for a connection to come about, and for each answer on it, in seconds.
CONNECT_TIMEOUT = 10
ANSWER_TIMEOUT = 20

#: How much is read from the socket at once, in bytes.
CHUNK = 256 * 1024

#: A batch is full when it has so many bytes, however few reports these are.
BATCH_BYTES = 32 * 1024 * 1024

_DEFAULT_PORT = 5672


class Host(NamedTuple):
    """One broker of the URL, with all that kombu needs to connect to it."""

    name: str
    parameters: dict[str, Any]


class Queue(NamedTuple):
    """The names and limits of the report queue.

    :ivar length: how many reports it holds before it rejects more.
    :ivar prefetch: how many may be taken and not acknowledged.
    :ivar max_size: of a report, in bytes.
    """

    exchange: str
    name: str
    length: int
    prefetch: int
    max_size: int


def hosts(conf: Any) -> list[Host]:
    """Return the brokers of ``transport_url``, in random order; or the one hub.

    :param conf: a transport's, in which the options of the URL's query count.
    :raises guestagent.errors.ConfigError: it is neither a URL of RabbitMQ nor of a hub.
    """
    url = oslo_messaging.TransportURL.parse(conf)
    if url.transport == where.SCHEME:
        path = where.programs_socket(str(url))
        return [Host(path, {'path': path})]
    if url.transport.removeprefix('kombu+') not in ('rabbit', 'amqp'):
        raise errors.ConfigError(
            f'transport_url: the conductor takes reports from RabbitMQ '
            f'(rabbit://user:password@host:port/vhost) or a hub (channel:///folder), '
            f'not {url.transport}://'
        )
    rabbit = conf.oslo_messaging_rabbit
    found = [
        _host(host, url.virtual_host or '/', rabbit)
        for host in url.hosts
        or [oslo_messaging.TransportHost('localhost', _DEFAULT_PORT)]
    ]
    # Several conductors shall not all choose the same one.
    random.shuffle(found)
    return found


def _host(host: Any, virtual_host: str, rabbit: Any) -> Host:
    name, port = host.hostname or 'localhost', host.port or _DEFAULT_PORT
    address = f'[{name}]' if ':' in name else name
    return Host(
        f'{address}:{port}',
        {
            'hostname': address,
            'port': port,
            'userid': host.username or 'guest',
            'password': host.password or 'guest',
            'virtual_host': virtual_host,
            'ssl': tls.Tls.of(rabbit).parameters(name) if rabbit.ssl else False,
            'login_method': rabbit.rabbit_login_method,
            'heartbeat': rabbit.heartbeat_timeout_threshold,
            'connect_timeout': CONNECT_TIMEOUT,
            'transport': 'pyamqp',
            'transport_options': {
                'client_properties': {
                    'connection_name': 'guestagent-conductor:'
                    f'{socket.gethostname()}:{os.getpid()}'
                }
            },
        },
    )


class Consumer:
    """Takes reports on one connection; used by one thread.

    Made, it is connected, has declared exchange and queue, and messages flow.  kombu
    and py-amqp make the connection and keep the protocol's state; the socket is read
    here, as much at once as there is.

    :ivar backlog: how many messages waited in the queue at that time.
    :cvar proven: whoever may write to the queue may name any instance.
    :raises: what is in :data:`LOST`, here and in each method.
    """

    proven = False

    def __init__(self, host: Host, queue: Queue) -> None:
        self._waiting: collections.deque[deliveries.Delivery] = collections.deque()
        self._bytes = 0
        self._connection = kombu.Connection(**host.parameters)
        try:
            self._connection.connect()
            self._amqp = self._connection.connection
            self._sock = self._amqp.sock
            # Drops a broker that hangs within a frame or owes an answer.
            self._sock.settimeout(ANSWER_TIMEOUT)
            self._channel = self._connection.channel()
            self.backlog = self._declare(queue)
            self._channel.basic_qos(0, queue.prefetch, False)
            self._channel.basic_consume(queue.name)
            self._splitter = frames.Splitter(self._amqp.frame_max)
            self._assembler = deliveries.Assembler(
                self._channel.channel_id,
                queue.max_size,
                self._add,
                self._amqp.on_inbound_frame,
            )
        except BaseException:
            self.drop()
            raise

    def take(self, limit: int, idle: float, fill: float) -> list[deliveries.Delivery]:
        """Return up to ``limit`` messages, none if none came for ``idle`` seconds.

        :param fill: how many seconds to wait for more after the first.
        """
        self._connection.heartbeat_check()
        waiting = self._waiting
        deadline = time.monotonic() + (fill if waiting else idle)
        while len(waiting) < limit and self._bytes < BATCH_BYTES:
            before = len(waiting)
            if not self._read(deadline - time.monotonic()):
                break
            if not before and waiting:
                deadline = time.monotonic() + fill
            elif time.monotonic() >= deadline:
                break
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self._bytes -= sum(each.size for each in taken if each.body is not None)
        return taken

    def acknowledge(self, delivery: deliveries.Delivery) -> None:
        """Acknowledge this message and all before it."""
        self._sock.settimeout(ANSWER_TIMEOUT)
        self._channel.basic_ack(delivery.tag, multiple=True)

    def _read(self, seconds: float) -> bool:
        """Read what there is; return whether there was anything in time."""
        # With a limit always: without one it outlasts the broker's heartbeats, and
        # nothing else happens on this thread.
        self._sock.settimeout(max(0.001, seconds))
        try:
            data = self._sock.recv(CHUNK)
        except TimeoutError:
            return False
        finally:
            self._sock.settimeout(ANSWER_TIMEOUT)
        if not data:
            raise ConnectionResetError('the broker closed the connection')
        # To py-amqp any change is a sign of life.
        self._amqp.bytes_recv += 1
        feed = self._assembler.feed
        for frame in self._splitter.feed(data):
            feed(frame)
        return True

    def _add(self, delivery: deliveries.Delivery) -> None:
        self._waiting.append(delivery)
        if delivery.body is not None:
            self._bytes += delivery.size

    def close(self) -> None:
        """Take leave of the broker; what is not acknowledged is delivered again."""
        try:
            # Its answer is not waited for: all that was sent before is read before.
            self._amqp.send_method(amqp.spec.Connection.Close, 'BsBB', (0, '', 0, 0))
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the connection without a word."""
        self._connection.collect()

    def _declare(self, queue: Queue) -> int:
        """Declare what the wire's specification says; return the queue's length."""
        self._channel.exchange_declare(
            queue.exchange, 'topic', durable=True, auto_delete=False
        )
        declared = self._channel.queue_declare(
            queue.name,
            durable=True,
            auto_delete=False,
            arguments={'x-overflow': 'reject-publish', 'x-max-length': queue.length},
        )
        self._channel.queue_bind(queue.name, queue.exchange, routing_key=queue.name)
        return int(declared.message_count)


def report_queue(topic: str, length: int, batch_size: int, max_size: int) -> Queue:
    """Return the queue of a report topic; it always has the next batch at hand."""
    return Queue(topic, topics.report_queue(topic), length, 2 * batch_size, max_size)
