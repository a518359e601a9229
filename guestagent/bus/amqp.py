# SPDX-License-Identifier: Apache-2.0
"""The bus on RabbitMQ: one connection, reconnected for ever, and what waits for it.

The connection is made by a thread of its own, which ends when it is made or refused;
from then on it belongs to the loop.  Everything sent is ``mandatory`` and confirmed:
a reply that comes back has lost its reader, a report that comes back was not sent.
Confirms are never waited for.
"""

from __future__ import annotations

import collections
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from guestagent import logs
from guestagent import loop as loops
from guestagent.bus import base, link, url

LOG = logging.getLogger(__name__)

#: For how long a reply is worth sending, and a returned queue counts as gone.
REPLY_SECONDS = 60.0
#: How many replies wait for a connection, and how many gone queues are remembered.
OUTBOX_LENGTH = 10000
GONE_LENGTH = 200

#: An answer to a message that was sent, for whoever gave it.
Done = Callable[[base.Sent], None]


class _Reply:
    """A reply on its way."""

    __slots__ = ('body', 'expires', 'queue', 'returned')

    def __init__(
        self, queue: str, body: str, returned: Callable[[], None] | None
    ) -> None:
        self.queue = queue
        self.body = body
        self.returned = returned
        self.expires = time.monotonic() + REPLY_SECONDS


class _Report:
    """A report on its way."""

    __slots__ = ('done',)

    def __init__(self, done: Done) -> None:
        self.done = done


class AmqpBus(base.Bus):
    """Requests in, replies and reports out, over kombu.

    :param brokers: taken in turn, from a random one on.
    :param retry: the first wait, the random share of each wait, and the longest, in
        seconds, between two attempts to connect.
    """

    def __init__(
        self,
        loop: loops.Loop,
        where: url.Url,
        layout: link.Layout,
        *,
        heartbeat: float,
        connect_timeout: float,
        retry: tuple[float, float, float],
    ) -> None:
        self._loop = loop
        self._url = where
        self._layout = layout
        self._heartbeat = heartbeat
        self._connect_timeout = connect_timeout
        self._delay, self._splay, self._delay_max = retry
        self._turn = random.randrange(len(where.brokers))
        self._failures = 0
        self._link: link.Link | None = None
        self._ticker: loops.Timer | None = None
        self._closed = False
        self._paused = False
        self._pending: dict[int, _Reply | _Report] = {}
        self._returned: set[int] = set()
        self._outbox: collections.deque[_Reply] = collections.deque(
            maxlen=OUTBOX_LENGTH
        )
        self._gone: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._log_limit = logs.RateLimit()

    def start(
        self, received: Callable[[base.Delivery], None], connected: Callable[[], None]
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.start`."""
        self._received = received
        self._on_connected = connected
        self._connect()

    def reply(
        self, reply: base.Reply, returned: Callable[[], None] | None = None
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.reply`."""
        self._send_reply(_Reply(reply.queue, reply.body, returned))

    def report(self, body: str, done: Done) -> None:
        """See :meth:`guestagent.bus.base.Bus.report`."""
        if self._link is None:
            done(base.Sent.LOST)
            return
        exchange = self._layout.report_exchange
        tag = self._link.publish(exchange, f'{exchange}.info', body)
        self._pending[tag] = _Report(done)

    def is_gone(self, queue: str) -> bool:
        """See :meth:`guestagent.bus.base.Bus.is_gone`."""
        since = self._gone.get(queue)
        return since is not None and time.monotonic() - since < REPLY_SECONDS

    def pause(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.pause`."""
        self._paused = True
        if self._link is not None:
            self._link.cancel()

    @property
    def unconfirmed(self) -> int:
        """How many messages wait for the broker's confirm, or for a connection."""
        return len(self._pending) + len(self._outbox)

    def close(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.close`."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None
            self.connected = False

    def _send_reply(self, reply: _Reply) -> None:
        if self._link is None:
            self._outbox.append(reply)
            return
        tag = self._link.publish('', reply.queue, reply.body)
        self._pending[tag] = reply

    def _connect(self) -> None:
        threading.Thread(
            target=self._connect_thread, name='connect', daemon=True
        ).start()

    def _connect_thread(self) -> None:
        """Make a link and hand it, or what went wrong, to the loop."""
        brokers = self._url.brokers
        broker = brokers[self._turn % len(brokers)]
        try:
            made = link.Link(
                broker,
                self._url.virtual_host,
                self._layout,
                self._layout.topic,
                self._heartbeat,
                self._connect_timeout,
            )
        except link.ERRORS as error:
            self._loop.call_soon(self._not_connected, broker, error)
        except Exception as error:
            # py-amqp raises many things when a peer is no broker at all.
            LOG.debug('connecting to %s', broker, exc_info=True)
            self._loop.call_soon(self._not_connected, broker, error)
        else:
            self._loop.call_soon(self._attach, made)

    def _not_connected(self, broker: url.Broker, error: Exception) -> None:
        wait = min(self._delay * 2 ** min(self._failures, 16), self._delay_max)
        wait += random.uniform(0, self._splay)
        self._failures += 1
        self._turn += 1
        if not self._closed:
            LOG.warning(
                'RabbitMQ at %s, virtual host %s: %s; next attempt in %.1f s',
                broker,
                self._url.virtual_host,
                _reason(error),
                wait,
            )
            self._loop.call_later(wait, self._reconnect)

    def _reconnect(self) -> None:
        if not self._closed:
            self._connect()

    def _attach(self, made: link.Link) -> None:
        if self._closed:
            made.close()
            return
        self._link = made
        self.connected = True
        made.attach(
            self._loop, self._received, self._answered, self._on_return, self._lost
        )
        if not self.connected:
            return  # lost again, while it was being attached
        self._failures = 0
        LOG.info('connected to RabbitMQ at %s', made.broker)
        self._tick()
        for _ in range(len(self._outbox)):
            reply = self._outbox.popleft()
            if reply.expires > time.monotonic():
                self._send_reply(reply)
        if self._paused:
            made.cancel()
        self._on_connected()

    def _tick(self) -> None:
        if self._link is not None and self._link.tick_interval is not None:
            self._ticker = self._loop.call_later(self._link.tick_interval, self._tick)
            self._link.tick()

    def _lost(self, reason: Exception) -> None:
        """Keep what may not have arrived, and connect again."""
        made, self._link = self._link, None
        self.connected = False
        if self._ticker is not None:
            self._ticker.cancel()
        pending, self._pending = self._pending, {}
        self._returned.clear()
        for sent in pending.values():
            if isinstance(sent, _Reply):
                self._outbox.append(sent)
            else:
                sent.done(base.Sent.LOST)
        if made is not None:
            self._not_connected(made.broker, reason)

    def _answered(self, tag: int, multiple: bool, accepted: bool) -> None:
        """Take a confirm: of one message, or of all up to ``tag``."""
        tags = [tag]
        if multiple:
            # They are in the order of their tags.
            tags = list(itertools.takewhile(lambda n: n <= tag, self._pending))
        for number in tags:
            sent = self._pending.pop(number, None)
            if number in self._returned:
                self._returned.discard(number)
                outcome = base.Sent.RETURNED
            else:
                outcome = base.Sent.CONFIRMED if accepted else base.Sent.REJECTED
            if isinstance(sent, _Report):
                sent.done(outcome)
            elif sent is not None and outcome is not base.Sent.CONFIRMED:
                self._reply_failed(sent)

    def _on_return(self, message: Any) -> None:
        """Note a returned message; its confirm follows."""
        try:
            self._returned.add(int(message.properties['message_id']))
        except (KeyError, ValueError):
            LOG.warning('RabbitMQ returned a message that this agent did not send')

    def _reply_failed(self, reply: _Reply) -> None:
        """Remember that nobody reads this queue; nothing is repeated."""
        self._gone[reply.queue] = time.monotonic()
        self._gone.move_to_end(reply.queue)
        while len(self._gone) > GONE_LENGTH:
            self._gone.popitem(last=False)
        held = self._log_limit.allow('gone')
        if held is not None:
            LOG.info(
                'a reply to %s was returned: its client has gone (%d more since '
                'the last line like this)',
                reply.queue,
                held,
            )
        if reply.returned is not None:
            reply.returned()


def _reason(error: Exception) -> str:
    """Return an error in one line, without a password."""
    text = ' '.join(str(error).split()) or type(error).__name__
    if 'ACCESS_REFUSED' in text:
        return f'the broker refuses the login or a right: {text}'
    return text
