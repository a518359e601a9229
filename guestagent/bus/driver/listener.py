# SPDX-License-Identifier: Apache-2.0
"""What a program listens to, as oslo.messaging's servers poll it."""

from __future__ import annotations

import collections
import logging
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any

from oslo_messaging._drivers import amqp as rpc_amqp
from oslo_messaging._drivers import base
from oslo_messaging._drivers import common as rpc_common

from guestagent.bus.driver import body as bodies
from guestagent.bus.driver import connection, line

LOG = logging.getLogger(__name__)

#: How many messages come before the first is acknowledged.
RPC_PREFETCH = 64
NOTIFICATION_PREFETCH = 1000

#: How many messages are remembered, so that none is taken twice.
REMEMBERED = 1000

SendReply = Callable[[str, dict[str, Any]], None]


class Incoming(base.RpcIncomingMessage):
    """A message that came.

    :param origin: the connection that it came on; a tag counts there only.
    """

    def __init__(
        self,
        context: rpc_amqp.RpcContext,
        message: dict[str, Any],
        origin: line.Line,
        header: Mapping[str, Any],
        send_reply: SendReply | None,
    ) -> None:
        super().__init__(context.to_dict(), message, context.msg_id)
        self.client_timeout = context.client_timeout
        self._call = context.msg_id
        self._reply_queue = context.reply_q
        self._origin = origin
        self._subscription = header['sub']
        self._tag = header['tag']
        self._send_reply = send_reply

    def acknowledge(self) -> None:
        """See the base class."""
        self._tell({'op': 'ack', 'sub': self._subscription, 'tags': [self._tag]})

    def requeue(self) -> None:
        """See the base class."""
        self._tell({'op': 'requeue', 'sub': self._subscription, 'tag': self._tag})

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """See the base class."""
        text = rpc_common.serialize_remote_exception(failure) if failure else None
        self._answer({'result': reply, 'failure': text, 'ending': True})

    def heartbeat(self) -> None:
        """See the base class; only to who has asked for it."""
        if self.client_timeout:
            self._answer({'result': None, 'failure': None, 'ending': False})

    def _answer(self, message: dict[str, Any]) -> None:
        if self._call and self._reply_queue and self._send_reply is not None:
            self._send_reply(self._reply_queue, {**message, '_msg_id': self._call})

    def _tell(self, header: dict[str, Any]) -> None:
        try:
            self._origin.send(header)
        except OSError as error:
            LOG.debug('not told, it will be delivered again: %s', error)


class Acknowledged(Incoming):
    """A request: it was acknowledged before it runs, as oslo.messaging does."""

    def acknowledge(self) -> None:
        """See the base class."""

    def requeue(self) -> None:
        """See the base class; nothing can be put back any more."""

    def take(self) -> None:
        """Acknowledge it."""
        super().acknowledge()


class _Listener(base.PollStyleListener):
    """Messages of several subscriptions, in the order in which they came."""

    prefetch = NOTIFICATION_PREFETCH

    def __init__(self, hub: connection.Connection) -> None:
        super().__init__()
        self._hub = hub
        self._subscriptions: list[int] = []
        # ``None`` wakes who polls.
        self._came: queue.SimpleQueue[Incoming | None] = queue.SimpleQueue()
        self._stopped = False
        self._seen: collections.OrderedDict[str, None] = collections.OrderedDict()

    def consume(self, address: Mapping[str, Any]) -> None:
        """Take what is sent to an address."""
        header = {**address, 'prefetch': self.prefetch}
        self._subscriptions.append(self._hub.consume(header, self._deliver))

    @base.batch_poll_helper
    def poll(self, timeout: float | None = None) -> Incoming | None:
        """See the base class."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._stopped and self._came.empty():
                return None
            left = None if deadline is None else max(0, deadline - time.monotonic())
            try:
                incoming = self._came.get(timeout=left)
            except queue.Empty:
                return None
            if incoming is not None:
                self._taken(incoming)
                return incoming

    def stop(self) -> None:
        """See the base class."""
        self._stopped = True
        for subscription in self._subscriptions:
            self._hub.prefetch(subscription, 0)
        self._came.put(None)

    def cleanup(self) -> None:
        """See the base class."""
        for subscription in self._subscriptions:
            self._hub.cancel(subscription)
        self._subscriptions.clear()

    def _make(
        self,
        context: rpc_amqp.RpcContext,
        message: dict[str, Any],
        origin: line.Line,
        header: Mapping[str, Any],
    ) -> Incoming:
        return Incoming(context, message, origin, header, None)

    def _taken(self, incoming: Incoming) -> None:
        """A message goes to the server."""

    def _deliver(
        self, origin: line.Line, header: Mapping[str, Any], body: bytes
    ) -> None:
        try:
            message = bodies.read(body)
            unique_id = message.pop(rpc_amqp.UNIQUE_ID, None)
            context = rpc_amqp.unpack_context(message)
        except (ValueError, TypeError, AttributeError, rpc_common.RPCException) as err:
            LOG.warning('dropped what is no message: %s', err)
            _acknowledge(origin, header)
            return
        if self._is_repeat(unique_id):
            _acknowledge(origin, header)
            return
        self._came.put(self._make(context, message, origin, header))

    def _is_repeat(self, unique_id: Any) -> bool:
        if not isinstance(unique_id, str):
            return False
        if unique_id in self._seen:
            return True
        self._seen[unique_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False


class NotificationListener(_Listener):
    """Notifications: acknowledged when their endpoint has returned."""

    def _is_repeat(self, unique_id: Any) -> bool:
        """What comes again was not acknowledged, and must be handled again."""
        return False


class RpcListener(_Listener):
    """Requests, which it acknowledges when the server takes them."""

    prefetch = RPC_PREFETCH

    def __init__(self, hub: connection.Connection, send_reply: SendReply) -> None:
        super().__init__(hub)
        self._send_reply = send_reply

    def _make(
        self,
        context: rpc_amqp.RpcContext,
        message: dict[str, Any],
        origin: line.Line,
        header: Mapping[str, Any],
    ) -> Incoming:
        return Acknowledged(context, message, origin, header, self._send_reply)

    def _taken(self, incoming: Incoming) -> None:
        if isinstance(incoming, Acknowledged):
            incoming.take()


def _acknowledge(origin: line.Line, header: Mapping[str, Any]) -> None:
    try:
        origin.send({'op': 'ack', 'sub': header['sub'], 'tags': [header['tag']]})
    except OSError as error:
        LOG.debug('not told, it will be delivered again: %s', error)
