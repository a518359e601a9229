# SPDX-License-Identifier: Apache-2.0
"""The bus on the real oslo.messaging library, over any transport that it knows.

The reference that the light bus is tested against, and the way onto transports that
it does not speak.  The library waits in almost all that it does, so each of its calls
runs on a thread of this module and hands over with ``loop.call_soon``.

What differs from the light bus by design is in doc/wire.rst, section 10.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import amqp
from oslo_config import cfg
from oslo_service import backend

# oslo.messaging would choose eventlet, and fail where that is kept out.
backend.init_backend(backend.BackendType.THREADING)

import oslo_messaging  # noqa: E402
from oslo_messaging import opts  # noqa: E402

from guestagent import errors  # noqa: E402
from guestagent import loop as loops  # noqa: E402
from guestagent.bus import base, envelope, topics, waiting  # noqa: E402

LOG = logging.getLogger(__name__)

#: How many replies may be on their way at once; each takes a thread and, on RabbitMQ,
#: a connection.
SENDERS = 8
#: Seconds between two attempts, where the library does not try again by itself.
RETRY_SECONDS = 5.0
#: Seconds that the last replies, and the library's own end, may take.
CLOSE_SECONDS = 5.0

#: Put into the URL, which wins over the library's options.  A reply queue that is
#: missing is not waited for: it would hold a thread for a minute.
_REQUESTS_QUERY = {'kombu_missing_consumer_retry_timeout': '0'}
#: The exchange of reports is durable whatever the request queues are.
_REPORTS_QUERY = {**_REQUESTS_QUERY, 'amqp_durable_queues': 'true'}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _Delivery(base.Delivery):
    """A request that the library has read, and acknowledged already.

    :ivar lock: held while anything is sent to who waits, so that no sign of life
        follows the answer.
    :ivar answered: whether the answer was sent.
    """

    __slots__ = ('answered', 'incoming', 'lock')

    def __init__(self, incoming: Any) -> None:
        # The library does not tell for how long the caller waits.
        super().__init__(None)
        self.incoming = incoming
        self.lock = threading.Lock()
        self.answered = False

    def read(self) -> envelope.Message:
        """Return the message as if it came from the wire."""
        incoming = self.incoming
        fields = {f'_context_{key}': value for key, value in incoming.ctxt.items()}
        # The library puts this among the caller's own.
        fields.pop('_context_client_timeout', None)
        msg_id = getattr(incoming, 'orig_msg_id', incoming.msg_id)
        return envelope.Message(
            {
                **incoming.message,
                **fields,
                '_unique_id': getattr(incoming, 'unique_id', None),
                '_msg_id': msg_id,
                # A transport without queues of that name answers by itself.
                '_reply_q': getattr(incoming, 'reply_q', f'reply_{msg_id}'),
                '_timeout': incoming.client_timeout,
            }
        )


class ReferenceBus(base.Bus):
    """Requests in, replies and reports out, over oslo.messaging.

    :param requests: the transport of requests and replies.
    :param reports: another one for reports, as its objects are durable.
    :param target: what to listen on.
    :param report_target: where reports go.
    """

    def __init__(
        self,
        loop: loops.Loop,
        requests: oslo_messaging.Transport,
        reports: oslo_messaging.Transport,
        target: oslo_messaging.Target,
        report_target: oslo_messaging.Target,
    ) -> None:
        self._loop = loop
        self._requests = requests
        self._reports = reports
        self._target = target
        self._report_target = report_target
        self._listener: Any = None
        self._stopped: threading.Thread | None = None
        self._paused = False
        self._closing = threading.Event()
        self._senders = waiting.Threads('send', SENDERS)
        # One, so that reports arrive in their order.
        self._reporting = waiting.Threads('report', 1)
        self._away_until = 0.0

    def start(
        self, received: Callable[[base.Delivery], None], connected: Callable[[], None]
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.start`."""
        self._received = received
        self._on_connected = connected
        _start_thread('listen', self._listen)

    def reply(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None = None
    ) -> None:
        """See the base class; the library does not say when a reply came back."""
        self._senders.submit(self._send_reply, reply, done)

    def report(self, body: str, done: Callable[[base.Sent], None]) -> None:
        """See :meth:`guestagent.bus.base.Bus.report`."""
        self._reporting.submit(self._report, body, done)

    def is_gone(self, queue: str) -> bool:
        """Never: the library remembers by itself whom not to answer."""
        return False

    def pause(self) -> None:
        """See the base class; what the library has read already still comes."""
        self._paused = True
        if self._listener is not None and self._stopped is None:
            self._stopped = _start_thread('stop', self._listener.stop)

    def close(self) -> None:
        """See the base class; waits, at most :data:`CLOSE_SECONDS`."""
        self.pause()
        self._closing.set()
        self.connected = False
        # The library may wait for a broker that is away; nobody waits for that.
        _start_thread('close', self._clean_up).join(CLOSE_SECONDS)

    def _send_reply(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None
    ) -> None:
        _send_reply(reply)
        if done is not None:
            self._loop.call_soon(done, base.Sent.CONFIRMED)

    def _clean_up(self) -> None:
        if self._stopped is not None:
            self._stopped.join()
        self._senders.wait_idle()
        self._reporting.wait_idle()
        if self._listener is not None:
            self._listener.cleanup()
        self._requests.cleanup()
        self._reports.cleanup()

    def _listen(self) -> None:
        """Make a listener, which takes until the broker is there."""
        while not self._closing.is_set():
            try:
                listener = self._requests._listen(self._target, 1, None)
            except Exception as error:  # noqa: BLE001
                # A thread's boundary: each transport has errors of its own.
                LOG.warning(
                    'cannot listen on %s: %s; next attempt in %d s',
                    self._target.topic,
                    _one_line(error),
                    RETRY_SECONDS,
                )
                self._closing.wait(RETRY_SECONDS)
            else:
                self._loop.call_soon(self._listening, listener)
                return

    def _listening(self, listener: Any) -> None:
        if self._paused:
            _start_thread('stop', listener.cleanup)
            return
        self._listener = listener
        listener.start(self._incoming)
        self.connected = True
        LOG.info('listening on %s through oslo.messaging', self._target.topic)
        self._on_connected()

    def _incoming(self, batch: list[Any]) -> None:
        """Take requests; on the library's thread."""
        for incoming in batch:
            incoming.acknowledge()
            self._loop.call_soon(self._received, _Delivery(incoming))

    def _report(self, body: str, done: Callable[[base.Sent], None]) -> None:
        """Send a report and wait until the transport has it."""
        if time.monotonic() < self._away_until:
            sent = base.Sent.LOST
        else:
            sent = self._send_report(envelope.read(body).body)
        if sent is base.Sent.LOST:
            self._away_until = time.monotonic() + RETRY_SECONDS
        self._loop.call_soon(self._reported, done, sent)

    def _send_report(self, message: dict[str, Any]) -> base.Sent:
        """Send as an RPC cast: a notification is not ``mandatory``, and the library
        would declare its queue with other arguments than the conductor's.
        """
        try:
            self._reports._send(
                self._report_target,
                {},
                message,
                retry=1,
                transport_options=oslo_messaging.TransportOptions(at_least_once=True),
            )
        except oslo_messaging.MessageUndeliverable:
            return base.Sent.RETURNED
        except Exception as error:  # noqa: BLE001
            # A thread's boundary: each transport has errors of its own.
            if _is_nack(error):
                return base.Sent.REJECTED
            LOG.warning('a report could not be sent: %s', _one_line(error))
            return base.Sent.LOST
        return base.Sent.CONFIRMED

    def _reported(self, done: Callable[[base.Sent], None], sent: base.Sent) -> None:
        done(sent)
        if sent is base.Sent.LOST and self.connected:
            self.connected = False
            self._loop.call_later(RETRY_SECONDS, self._back)

    def _back(self) -> None:
        """Try reports again; the library reconnects, but does not say so."""
        if not self._closing.is_set():
            self.connected = True
            self._on_connected()


def make(conf: Any, loop: loops.Loop, instance: str) -> ReferenceBus:
    """Return the bus of an agent, not yet started.

    The library reads the same configuration files by itself, with its own options
    in the section ``oslo_messaging_rabbit``.

    :raises guestagent.errors.ConfigError: ``transport_url`` makes no sense to it.
    """
    library = cfg.ConfigOpts()
    library(
        [], default_config_files=conf.config_file, default_config_dirs=conf.config_dir
    )
    return ReferenceBus(
        loop,
        _transport(library, conf.transport_url, _REQUESTS_QUERY),
        _transport(library, conf.transport_url, _REPORTS_QUERY),
        oslo_messaging.Target(
            exchange=conf.control_exchange,
            topic=topics.request_topic(instance),
            server=instance,
        ),
        oslo_messaging.Target(
            exchange=conf.report_topic, topic=topics.report_queue(conf.report_topic)
        ),
    )


def options() -> list[tuple[str, list[Any]]]:
    """Return (section, options) that the library reads."""
    # It lists some without a section too, which are not read here.
    return [(group, found) for group, found in opts.list_opts() if group]


def _transport(
    conf: cfg.ConfigOpts, text: str, query: dict[str, str]
) -> oslo_messaging.Transport:
    try:
        url = oslo_messaging.TransportURL.parse(conf, text)
        for key, value in query.items():
            url.query.setdefault(key, value)
        return oslo_messaging.get_rpc_transport(conf, url)
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
        ValueError,
    ) as error:
        raise errors.ConfigError(
            f'transport_url: {_one_line(error)}; it must be one that oslo.messaging '
            f'knows, as rabbit://user:password@host:port/vhost'
        ) from None


def _send_reply(reply: base.Reply) -> None:
    """Send a reply or a sign of life, and wait until the transport has it."""
    delivery = reply.delivery
    if not isinstance(delivery, _Delivery):
        raise TypeError(f'{type(delivery).__name__} did not come from this bus')
    with delivery.lock:
        if delivery.answered:
            return
        delivery.answered = reply.ending
        try:
            if not reply.ending:
                delivery.incoming.heartbeat()
            elif reply.error is None:
                delivery.incoming.reply(reply.result)
            else:
                delivery.incoming.reply(failure=_failure(reply.error))
        except Exception as error:  # noqa: BLE001
            # A thread's boundary: each transport has errors of its own.
            LOG.warning('a reply could not be sent: %s', _one_line(error))


def _failure(error: BaseException) -> _ExcInfo:
    """Return what the library takes to send ``error`` as the light bus sends it.

    An error of ours is an answer, not a crash: its traceback stays here.  Its module
    is the one that a client may import.
    """
    kind = type(error)
    if not isinstance(error, errors.GuestAgentError):
        return kind, error, error.__traceback__
    if kind.__module__ != error.wire_module:
        known = getattr(sys.modules.get(error.wire_module), kind.__name__, None)
        kind = known or type(kind.__name__, (kind,), {'__module__': error.wire_module})
    # Past the constructor, which may take other arguments than those that were kept.
    sent = kind.__new__(kind, *error.args)
    return kind, sent, None


def _is_nack(error: BaseException | None) -> bool:
    """Whether the broker refused a message; the library says so in what it caught."""
    while error is not None:
        if isinstance(error, amqp.exceptions.MessageNacked):
            return True
        error = error.__cause__ or error.__context__
    return False


def _start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
