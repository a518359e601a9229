# SPDX-License-Identifier: Apache-2.0
"""Ask guests for a full report when facts are missing.

Facts come as changes, and a change that is lost is not told again.  What is missing is
noted where reports are written (``facts``), and who is asked is decided in the database
(``db.asks``), so that several conductors ask no more than one would.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import oslo_messaging
import sqlalchemy.exc

from guestagent import errors, logs
from guestagent.bus import reasons, topics
from guestagent.conductor import broker, post
from guestagent.conductor.db import asks, engine
from guestagent.seal import caller, keys

LOG = logging.getLogger(__name__)

#: How often it is looked for who is to be asked, in seconds: on average.
LOOK_INTERVAL = 0.5

_NAMESPACE, _METHOD, _VERSION = 'agent', 'report', '1.0'


class Settings(NamedTuple):
    """``after`` in seconds, ``rate`` in instances a second by all conductors."""

    after: float
    rate: float


class Asker:
    """The thread that asks.

    :param bus: oslo.messaging's transport.
    :param ring: returns the keys to seal with; ``None``: there are none.
    :param apart: returns the brokers in whose virtual host an instance is alone.
    :ivar asked: how many requests were sent.
    """

    def __init__(
        self,
        database: engine.Database,
        bus: Any,
        settings: Settings,
        ring: Callable[[], keys.MasterRing | None] = lambda: None,
        apart: Callable[[str], Sequence[broker.Host]] = lambda instance: (),
    ) -> None:
        self._ring = ring
        self._apart = apart
        self._exchange = bus.conf.control_exchange
        self._database = database
        self._settings = settings
        # Without a broker it is not waited for: who is asked now is asked again later.
        self._client = oslo_messaging.get_rpc_client(
            bus, oslo_messaging.Target(namespace=_NAMESPACE, version=_VERSION), retry=0
        )
        self._stopping = threading.Event()
        self._limit = logs.RateLimit(60)
        self.asked = 0
        self._thread = threading.Thread(target=self._run, name='asker', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Let a request that is being sent end; return whether that was in time."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        # Several conductors shall not look at the same moment.
        while not self._stopping.wait(LOOK_INTERVAL * random.uniform(0.5, 1.5)):
            try:
                self._ask()
            except (
                sqlalchemy.exc.SQLAlchemyError,
                oslo_messaging.MessagingException,
                errors.ConfigError,
            ) as error:
                self._complain(error)
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('asking for facts failed in a way that nobody foresaw')

    def _ask(self) -> None:
        chosen = asks.choose(self._database, time.time(), *self._settings)
        asked = []
        for instance in chosen:
            if self._stopping.is_set():
                return
            if self._send(instance):
                asked.append(instance)
                self.asked += 1
        if asked:
            held = self._limit.allow('asked')
            LOG.log(
                logging.DEBUG if held is None else logging.INFO,
                'facts of %d instances are missing: asked for all, of %s and others',
                len(asked),
                asked[0],
            )

    def _send(self, instance: str) -> bool:
        """Ask one; return whether it will hear of it."""
        topic, request = topics.request_topic(instance), self._request(instance)
        hosts = self._apart(instance)
        if hosts:
            return self._send_apart(instance, hosts, topic, request)
        route = self._client.prepare(
            topic=topic, namespace=request['namespace'], version=request['version']
        )
        route.cast({}, request['method'], **request['args'])
        return True

    def _send_apart(
        self,
        instance: str,
        hosts: Sequence[broker.Host],
        topic: str,
        request: dict[str, Any],
    ) -> bool:
        """Ask one that may do in its virtual host what it likes; others come next."""
        try:
            post.cast(hosts, self._exchange, topic, request)
        except broker.LOST as error:
            held = self._limit.allow(f'apart {instance}')
            if held is not None:
                LOG.warning(
                    'instance %s was not asked for missing facts, in its virtual host: '
                    '%s',
                    instance,
                    reasons.explain(error),
                )
            return False
        return True

    def _request(self, instance: str) -> dict[str, Any]:
        """Return what is sent, sealed with the key for reports if there is one.

        That key can ask for nothing else.
        """
        ring = self._ring()
        if ring is None:
            method: dict[str, Any] = {'method': _METHOD, 'args': {}}
            return {'namespace': _NAMESPACE, 'version': _VERSION, **method}
        return {
            'namespace': caller.NAMESPACE,
            'version': caller.VERSION,
            'method': caller.METHOD,
            'args': caller.ask(ring, instance, time.time()),
        }

    def _complain(self, error: Exception) -> None:
        if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
            text = f'the database: {engine.explain(error)}'
        else:
            text = ' '.join(str(error).split()) or type(error).__name__
        held = self._limit.allow('failed')
        if held is not None:
            LOG.warning('nobody was asked for missing facts: %s', text)
