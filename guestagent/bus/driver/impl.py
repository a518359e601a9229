# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's driver of ``channel://``, for any program that uses the library.

Messages have oslo.messaging's own envelope, so that a guest cannot tell such a program
from one on RabbitMQ.  Threads only: with eventlet's executor it is of no use.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import amqp as rpc_amqp
from oslo_messaging._drivers import base
from oslo_messaging._drivers import common as rpc_common

from guestagent import errors
from guestagent.bus import envelope, framing, where
from guestagent.bus.driver import body as bodies
from guestagent.bus.driver import connection, listener, pending

#: What ``TransportOptions(at_least_once=True)`` asks for.
_MANDATORY = 'at_least_once'


class _Call:
    """What came for a call: replies, signs of life, or an end.

    :ivar number: of its request, once that is sent.
    """

    __slots__ = ('came', 'number')

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()
        self.number = 0

    def has_come(self) -> bool:
        """Whether anything has."""
        return not self.came.empty()


class ChannelDriver(base.BaseDriver):
    """See the module.

    :raises oslo_messaging.InvalidTransportURL: the URL names no folder.
    """

    def __init__(
        self,
        conf: Any,
        url: Any,
        default_exchange: str | None = None,
        allowed_remote_exmods: Sequence[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        try:
            path = where.programs_socket(str(url))
        except errors.ConfigError as error:
            raise oslo_messaging.InvalidTransportURL(str(url), str(error)) from None
        self._connection = connection.Connection(path)
        self._reply_queue = ''
        self._reply_lock = threading.Lock()
        self._calls: dict[str, _Call] = {}

    def require_features(self, requeue: bool = True) -> None:
        """Everything is there."""

    def send(
        self,
        target: Any,
        ctxt: Mapping[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        """See the base class."""
        mandatory = bool(getattr(transport_options, _MANDATORY, False))
        header = self._address(target)
        if mandatory:
            header['mandatory'] = True
        if wait_for_reply:
            return self._call(
                header, ctxt, message, timeout, call_monitor_timeout, retry, mandatory
            )
        self._publish(header, _body(ctxt, message), timeout, retry, mandatory)
        return None

    def send_notification(
        self,
        target: Any,
        ctxt: Mapping[str, Any],
        message: dict[str, Any],
        version: float,
        retry: int | None = None,
    ) -> None:
        """See the base class; the hub holds it until somebody listens."""
        header = {**self._address(target), 'create': True}
        body = _body(ctxt, message, enveloped=version == 2.0)
        self._publish(header, body, None, retry, mandatory=True)

    def listen(
        self, target: Any, batch_size: int, batch_timeout: float
    ) -> base.PollStyleListenerAdapter:
        """See the base class."""
        exchange = target.exchange or self._default_exchange
        address = {'exchange': exchange, 'topic': target.topic}
        made = listener.RpcListener(self._connection, self._send_reply)
        made.consume(address)
        made.consume({**address, 'server': target.server})
        made.consume({**address, 'fanout': True})
        return base.PollStyleListenerAdapter(made, batch_size, batch_timeout)

    def listen_for_notifications(
        self,
        targets_and_priorities: Sequence[tuple[Any, str]],
        pool: str | None,
        batch_size: int,
        batch_timeout: float,
    ) -> base.PollStyleListenerAdapter:
        """See the base class."""
        made = listener.NotificationListener(self._connection)
        for target, priority in targets_and_priorities:
            address = {
                'exchange': target.exchange or self._default_exchange,
                'topic': f'{target.topic}.{priority}',
                'kept': True,
            }
            if pool:
                address['queue'] = pool
            made.consume(address)
        return base.PollStyleListenerAdapter(made, batch_size, batch_timeout)

    def cleanup(self) -> None:
        """See the base class."""
        self._connection.close()

    def _address(self, target: Any) -> dict[str, Any]:
        header = {
            'op': 'publish',
            'exchange': target.exchange or self._default_exchange,
            'topic': target.topic,
        }
        if target.fanout:
            header['fanout'] = True
        elif target.server:
            header['server'] = target.server
        return header

    def _publish(
        self,
        header: dict[str, Any],
        body: bytes,
        timeout: float | None,
        retry: int | None,
        mandatory: bool,
    ) -> None:
        try:
            self._connection.publish(header, body, timeout, _retries(retry))
        except pending.Refused as error:
            if error.outcome is not framing.Outcome.RETURNED:
                raise oslo_messaging.MessageDeliveryFailure(str(error)) from error
            if mandatory:
                raise _undeliverable(header) from error
        except TimeoutError as error:
            raise oslo_messaging.MessagingTimeout(str(error)) from error
        except (pending.Down, framing.Unsendable) as error:
            raise oslo_messaging.MessageDeliveryFailure(str(error)) from error

    def _call(
        self,
        header: dict[str, Any],
        ctxt: Mapping[str, Any],
        message: dict[str, Any],
        timeout: float | None,
        monitor: float | None,
        retry: int | None,
        mandatory: bool,
    ) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        msg_id = envelope.unique_id()
        reply_queue = self._find_reply_queue()
        message |= {'_msg_id': msg_id, '_reply_q': reply_queue, '_timeout': monitor}
        body = _body(ctxt, message)
        header |= {'reply': reply_queue}
        if timeout is not None:
            header['ttl'] = timeout
        call = self._calls[msg_id] = _Call()
        try:
            call.number = self._connection.request(
                header, body, call.came.put, timeout, _retries(retry)
            )
            return self._wait(call, header, deadline, monitor, mandatory)
        except TimeoutError as error:
            raise oslo_messaging.MessagingTimeout(
                f'no answer from topic {header["topic"]} in time'
            ) from error
        except (pending.Down, framing.Unsendable) as error:
            raise oslo_messaging.MessageDeliveryFailure(str(error)) from error
        finally:
            self._connection.forget(call.number)
            del self._calls[msg_id]

    def _wait(
        self,
        call: _Call,
        header: dict[str, Any],
        deadline: float | None,
        monitor: float | None,
        mandatory: bool,
    ) -> Any:
        """Return the result of a call, or raise its failure.

        :raises TimeoutError: neither came in time, nor a sign of life.
        """
        alive = time.monotonic()
        while True:
            ends = [] if deadline is None else [deadline]
            if monitor:
                ends.append(alive + monitor)
            left = max(0.0, min(ends) - time.monotonic()) if ends else None
            self._connection.read_until(call.has_come, left)
            left = max(0.0, min(ends) - time.monotonic()) if ends else None
            try:
                came = call.came.get(timeout=left)
            except queue.Empty:
                raise TimeoutError from None
            if isinstance(came, pending.Refused):
                if came.outcome is framing.Outcome.RETURNED and not mandatory:
                    # As on RabbitMQ: it may be that nobody listens yet, and nobody
                    # tells.
                    continue
                if came.outcome is framing.Outcome.RETURNED:
                    raise _undeliverable(header)
                raise oslo_messaging.MessageDeliveryFailure(str(came))
            if isinstance(came, Exception):
                raise came
            if came.get('failure'):
                raise rpc_common.deserialize_remote_exception(
                    came['failure'], self._allowed_remote_exmods
                )
            if came.get('ending'):
                return came.get('result')
            alive = time.monotonic()

    def _find_reply_queue(self) -> str:
        """Return where this program takes its replies; the first call makes it."""
        with self._reply_lock:
            if not self._reply_queue:
                self._reply_queue = f'reply_{envelope.unique_id()}'
                header = {'reply': self._reply_queue, 'noack': True, 'prefetch': 1}
                self._connection.consume(header, self._take_reply)
            return self._reply_queue

    def _take_reply(self, _line: object, _header: object, body: bytes) -> None:
        try:
            message = bodies.read(body)
            call = self._calls.get(message['_msg_id'])
        except (ValueError, KeyError, TypeError, rpc_common.RPCException) as error:
            listener.LOG.warning('dropped what is no reply: %s', error)
            return
        if call is not None:
            if message.get('ending'):
                self._connection.forget(call.number)
            call.came.put(message)

    def _send_reply(self, name: str, message: dict[str, Any]) -> None:
        """Answer a call, at most once."""
        body = bodies.write(message)
        try:
            line = self._connection.wait_connected(30, None)
            line.send({'op': 'reply', 'to': name}, body)
        except (OSError, framing.Unsendable) as error:
            listener.LOG.warning('a reply to %s was not sent: %s', name, error)


def _body(
    ctxt: Mapping[str, Any], message: dict[str, Any], enveloped: bool = True
) -> bytes:
    """Return a message, with its context, as it travels."""
    rpc_amqp.pack_context(message, ctxt)
    return bodies.write(message, enveloped)


def _retries(retry: int | None) -> int | None:
    """Return ``None`` for ever."""
    return None if retry is None or retry < 0 else retry


def _undeliverable(header: Mapping[str, Any]) -> Exception:
    return oslo_messaging.MessageUndeliverable(
        exception='nobody listens',
        exchange=header['exchange'],
        routing_key=header['topic'],
        message=None,
    )
