# SPDX-License-Identifier: Apache-2.0
"""Channels on which nothing waits: what is asked and what is answered come apart.

py-amqp's channel waits for the answer to almost everything, and for its own revival
when the broker closes it.  Here all of a channel's making is sent in one go, with no
answer asked for but to the last; the broker closes the channel at the first thing that
it refuses.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import amqp
from amqp import spec


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is declared and consumed (doc/wire.rst, section 1).

    :ivar durable: of exchange and queue; so is ``auto_delete``.
    :ivar durable_fanout: of the fanout exchange.
    :ivar queue_arguments: of the request queue.
    :ivar declared: whether any of it is declared; otherwise all is there.
    :ivar prefetch: how many messages may be unacknowledged.
    """

    exchange: str
    topic: str
    server: str
    report_exchange: str
    durable: bool
    auto_delete: bool
    durable_fanout: bool
    queue_arguments: dict[str, Any]
    prefetch: int
    declared: bool = True

    @property
    def server_queue(self) -> str:
        """The queue that a stock server has beside the one of the topic."""
        return f'{self.topic}.{self.server}'


#: Arguments of an acknowledgement: the delivery's tag, and whether of all before it.
_ACK = struct.Struct('>QB')
_MANDATORY = b'\1'


def _short(text: str) -> bytes:
    """Return a short string as it travels.

    :raises ValueError: it is longer than 255 bytes.
    """
    data = text.encode()
    return bytes((len(data),)) + data


class _Content:
    """What is published, as py-amqp sends it: persistent JSON, with a number.

    Of all properties only the number is another one each time.
    """

    __slots__ = ('_number', 'body')

    #: Which there are: content type and encoding, headers, delivery mode, priority and
    #: message id.
    _FIXED = (
        struct.pack('>H', 0xF880)
        + _short('application/json')
        + _short('utf-8')
        + struct.pack('>IBB', 0, 2, 0)
    )

    def __init__(self, body: bytes, number: str) -> None:
        self.body = body
        self._number = number

    def _serialize_properties(self) -> bytes:
        return self._FIXED + _short(self._number)


class _Channel(amqp.Channel):
    """A channel that is closed for good when the broker closes it.

    :param closed: called with the reason when the broker does.
    """

    def __init__(self, connection: Any, closed: Callable[[Exception], None]) -> None:
        super().__init__(connection)
        self._closed = closed
        self.send_method(spec.Channel.Open, 's', ('',))

    def _on_close(self, code: int, text: str, class_id: int, method_id: int) -> None:
        self.send_method(spec.Channel.CloseOk)
        self.collect()
        self._closed(
            amqp.exceptions.error_for_code(
                code, text, (class_id, method_id), amqp.exceptions.ChannelError
            )
        )

    def leave(self) -> None:
        """Close it; its number is free when the broker has agreed."""
        self.send_method(spec.Channel.Close, 'BsBB', (0, '', 0, 0))


class GuestChannel(_Channel):
    """The one channel of a guest: it takes requests, and publishes with confirms.

    :param ready: called when all is declared, and consumed if that was asked for.
    :param cancelled: called when the broker ends the consuming: the queue is gone.
    """

    def __init__(
        self,
        connection: Any,
        layout: Layout,
        *,
        ready: Callable[[], None],
        closed: Callable[[Exception], None],
        cancelled: Callable[[], None],
        received: Callable[[Any], None],
    ) -> None:
        super().__init__(connection, closed)
        self._layout = layout
        self._cancelled = cancelled
        self._received = received
        self._published = 0
        self._callbacks[spec.Confirm.SelectOk] = ready

    def begin(self, consume: bool) -> None:
        """Ask for everything; the answer to the last is that it was done."""
        self.declare()
        self.send_method(spec.Basic.Qos, 'lBb', (0, self._layout.prefetch, False))
        if consume:
            self.consume(self._layout.topic)
        self.send_method(spec.Confirm.Select, 'b', (False,))

    def declare(self) -> None:
        """Declare with oslo.messaging's flags, and bind all that is for this guest."""
        layout, fanout = self._layout, f'{self._layout.topic}_fanout'
        if not layout.declared:
            return
        self._declare_exchange(
            layout.exchange, 'topic', layout.durable, layout.auto_delete
        )
        self._declare_exchange(fanout, 'fanout', layout.durable_fanout, True)
        self._declare_exchange(layout.report_exchange, 'topic', True, False)
        self.queue_declare(
            layout.topic,
            durable=layout.durable,
            auto_delete=layout.auto_delete,
            nowait=True,
            arguments=layout.queue_arguments,
        )
        for key in (layout.topic, layout.server_queue):
            self.queue_bind(layout.topic, layout.exchange, key, nowait=True)
        self.queue_bind(layout.topic, fanout, layout.topic, nowait=True)

    def consume(self, queue: str) -> None:
        """Take the messages of a queue."""
        self.basic_consume(
            queue,
            consumer_tag=queue,
            nowait=True,
            callback=self._received,
            on_cancel=self._on_cancel,
        )

    def cancel(self) -> None:
        """Take no more messages."""
        for tag in list(self.callbacks):
            self.basic_cancel(tag, nowait=True)

    def publish(self, exchange: str, key: str, body: str) -> int:
        """Publish persistent and mandatory; return the tag of its confirm.

        :raises amqp.exceptions.RecoverableConnectionError: the channel is closed.
        """
        self._published += 1
        content = _Content(body.encode(), str(self._published))
        arguments = b'\0\0' + _short(exchange) + _short(key) + _MANDATORY
        self._send(spec.Basic.Publish, arguments, content)
        return self._published

    def acknowledge(self, tag: int) -> None:
        """Acknowledge a delivery; nothing happens when the channel is closed."""
        if self.connection is not None:
            self._send(spec.Basic.Ack, _ACK.pack(tag, 0))

    def _send(
        self, method: tuple[int, int], arguments: bytes, content: _Content | None = None
    ) -> None:
        """Send a method whose arguments are packed already.

        Each request has an acknowledgement and a reply, and py-amqp takes longer to
        pack their arguments one by one than all else that is done to send them.
        """
        if self.connection is None:
            raise amqp.exceptions.RecoverableConnectionError('the channel is closed')
        self.connection.frame_writer(1, self.channel_id, method, arguments, content)

    def _declare_exchange(
        self, name: str, kind: str, durable: bool, auto_delete: bool
    ) -> None:
        self.exchange_declare(
            name, kind, durable=durable, auto_delete=auto_delete, nowait=True
        )

    def _on_cancel(self, queue: str) -> None:
        # The queue that a stock server has left may go.
        if queue == self._layout.topic:
            self._cancelled()


class Probe(_Channel):
    """Looks for the queue that a stock server of this guest may have left.

    On a channel of its own, because a queue that is not there closes it.  The queue's
    binding is taken away: what is sent from now on comes once.

    :param found: called if it is there.
    """

    def __init__(
        self, connection: Any, layout: Layout, found: Callable[[], None]
    ) -> None:
        super().__init__(connection, lambda _reason: None)
        self._layout = layout
        self._found = found
        self._callbacks[spec.Queue.DeclareOk] = self._on_declared
        self._callbacks[spec.Queue.UnbindOk] = self.leave
        self.send_method(
            spec.Queue.Declare,
            'BsbbbbbF',
            (0, layout.server_queue, True, False, False, False, False, {}),
        )

    def _on_declared(self, *_counts: Any) -> None:
        queue = self._layout.server_queue
        self.send_method(
            spec.Queue.Unbind, 'BsssF', (0, queue, self._layout.exchange, queue, {})
        )
        self._found()
