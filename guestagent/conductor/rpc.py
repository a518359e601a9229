# SPDX-License-Identifier: Apache-2.0
"""The conductor's side of oslo.messaging: a transport, and the server of queries.

A program that imports this chooses threads first (see ``guestagent.cmd.conductor``).
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import opts
from oslo_messaging._drivers import amqpdriver, impl_rabbit
from oslo_messaging.rpc import server

from guestagent import errors
from guestagent.bus import topics
from guestagent.conductor import chatter

LOG = logging.getLogger(__name__)

#: How long oslo.messaging's listener may sleep, in seconds: a stop waits for that.
_LONGEST_SLEEP = 0.5

#: For how long a reply is tried whose queue is not there, in seconds; 60 otherwise, and
#: a few callers who are gone would have all workers wait for them.
_REPLY_SECONDS = 1


def set_defaults() -> None:
    """Change what oslo.messaging does by default; before the configuration is read."""
    oslo_messaging.set_transport_defaults(control_exchange=topics.CONTROL_EXCHANGE)
    cfg.set_defaults(
        impl_rabbit.rabbit_opts, kombu_missing_consumer_retry_timeout=_REPLY_SECONDS
    )


def transport(conf: Any) -> Any:
    """Return oslo.messaging's transport for ``transport_url``; connects to nothing.

    :raises guestagent.errors.ConfigError: the URL is wrong.
    """
    _register_forgotten(conf)
    # It has no option for this, and 5 s otherwise.
    amqpdriver.ACK_REQUEUE_EVERY_SECONDS_MAX = _LONGEST_SLEEP
    try:
        return oslo_messaging.get_rpc_transport(conf)
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
    ) as error:
        raise errors.ConfigError(f'transport_url: {error}') from None
    except ImportError as error:
        raise errors.ConfigError(
            f'transport_url: the library of this driver is not installed: {error}'
        ) from None
    except ValueError as error:
        # Nothing of the URL itself: it may hold a password.
        raise errors.ConfigError(f'transport_url or its query: {error}') from None


def options() -> list[tuple[str | None, list[Any]]]:
    """Return all options of oslo.messaging, those too that this program never reads.

    A configuration may be shared with programs that do.
    """
    found: list[tuple[str | None, list[Any]]] = opts.list_opts()
    return found


def _register_forgotten(conf: Any) -> None:
    """Register what oslo.messaging reads and registers on its global object only."""
    try:
        from oslo_messaging._metrics import client as metrics

        conf.register_opts(
            metrics.oslo_messaging_metrics, group='oslo_messaging_metrics'
        )
        from oslo_messaging._tracing import client as tracing

        conf.register_opts(
            tracing.oslo_messaging_tracing, group='oslo_messaging_tracing'
        )
    except ImportError:
        # A release that does not have the one or the other does not read it either.
        LOG.debug('this oslo.messaging has no metrics or no tracing')


class NoReplyQueue(oslo_messaging.RPCDispatcherError):
    """The answer to a query would go where no answers are taken."""


class Dispatcher(oslo_messaging.RPCDispatcher):
    """Calls a query's method, but for one whose reply address is no reply queue.

    The address is the caller's word.  Another queue would get what it does not expect,
    and a name that AMQP does not allow costs the connection.
    """

    def dispatch(self, incoming: Any) -> Any:
        """Return what the method does.

        :raises NoReplyQueue: it was not called, and nobody will get an answer.
        """
        wanted = hasattr(incoming, 'reply_q') and incoming.msg_id
        if wanted and not topics.is_reply_queue(incoming.reply_q):
            incoming.reply = _reply_to_nobody
            raise NoReplyQueue(f'{incoming.reply_q!r:.100} is no reply queue (reply_*)')
        return super().dispatch(incoming)


def _reply_to_nobody(reply: object = None, failure: object = None) -> None:
    """Take the place of an incoming message's ``reply``."""


class Server:
    """Answers queries.

    :param workers: how many at once.
    :param exchange: where the topic is; ``None``: the control exchange.
    """

    def __init__(
        self,
        bus: Any,
        endpoints: list[object],
        workers: int,
        topic: str = topics.CONDUCTOR_TOPIC,
        exchange: str | None = None,
    ) -> None:
        self._bus = bus
        self._topic = topic
        target = oslo_messaging.Target(
            exchange=exchange, topic=topic, server=socket.gethostname()
        )
        self._server = server.RPCServer(bus, target, Dispatcher(endpoints, None, None))
        self._workers = workers
        chatter.quieten()
        self._started = threading.Event()
        self._stopper: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer as soon as there is a broker; returns at once."""
        # oslo.messaging's start() returns when it is connected, or never.
        threading.Thread(target=self._start, name='rpc-start', daemon=True).start()

    def stop(self, seconds: float) -> bool:
        """Let the queries in hand end; return whether that was in time.

        It may be called again, to wait on.
        """
        if not self._started.is_set():
            # It still waits for a broker, and stop() would wait for it.
            return True
        if self._stopper is None:
            self._stopper = threading.Thread(
                target=self._stop, name='rpc-stop', daemon=True
            )
            self._stopper.start()
        self._stopper.join(seconds)
        return not self._stopper.is_alive()

    def _start(self) -> None:
        self._server.start(override_pool_size=self._workers)
        self._started.set()
        LOG.info('answering queries on topic %s', self._topic)

    def _stop(self) -> None:
        # It would warn of the end of each consumer, which is what is wanted here.
        logging.getLogger('amqp').setLevel(logging.ERROR)
        self._server.stop()
        self._server.wait()
        # Without this a consumer may stay and swallow messages.
        self._bus.cleanup()
