# SPDX-License-Identifier: Apache-2.0
"""The bus on RabbitMQ: one connection, reconnected for ever, and what waits for it.

The connection is made by a thread of its own, which ends when it is made or refused;
from then on it belongs to the loop.  Everything sent is ``mandatory`` and confirmed:
a reply that comes back has lost its reader, a report that comes back was not sent.
Confirms are never waited for.  While the broker blocks the connection, for want of
memory or disk, replies wait here and reports wait with the reporter.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
from collections.abc import Callable

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.bus import (
    amqp_channel,
    attempts,
    base,
    gone,
    link,
    outbox,
    reasons,
    url,
)

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the bus behaves.

    :ivar shuffle: the order of the brokers is drawn anew for each time around.
    :ivar redeclare_interval: in seconds; 0: never.
    """

    access: link.Access
    layout: amqp_channel.Layout
    limits: link.Limits
    retry: attempts.Retry
    shuffle: bool
    redeclare_interval: float


class AmqpBus(base.Bus, link.Owner):
    """Requests in, replies and reports out, over py-amqp."""

    def __init__(
        self, loop: loops.Loop, brokers: tuple[url.Broker, ...], settings: Settings
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._brokers = attempts.Brokers(brokers, settings.shuffle)
        self._connections = attempts.Backoff(settings.retry, len(brokers))
        self._channels = attempts.Backoff(settings.retry)
        self._outbox = outbox.Outbox()
        self._link: link.Link | None = None
        self._timers: dict[str, loops.Timer] = {}
        self._blocked = False
        self._closed = False
        self._paused = False
        self._gone = gone.Gone()
        self._log_limit = logs.RateLimit()

    def start(
        self, received: Callable[[base.Delivery], None], connected: Callable[[], None]
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.start`."""
        self._received = received
        self._on_connected = connected
        self._connect()

    def reply(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None = None
    ) -> None:
        """See :meth:`guestagent.bus.base.Bus.reply`."""
        self._give_up(self._outbox.put(outbox.Reply(reply.queue, reply.body, done)))
        self._send_replies()

    def report(self, body: str, done: Callable[[base.Sent], None]) -> None:
        """See :meth:`guestagent.bus.base.Bus.report`."""
        exchange = self._settings.layout.report_exchange
        self._tell(outbox.Report(exchange, f'{exchange}.info', body, done))

    def cast(self, topic: str, body: str, done: Callable[[base.Sent], None]) -> None:
        """See :meth:`guestagent.bus.base.Bus.cast`."""
        self._tell(outbox.Report(self._settings.layout.exchange, topic, body, done))

    def _tell(self, report: outbox.Report) -> None:
        if not self.connected or not self._publish(report):
            report.done(base.Sent.LOST)

    def is_gone(self, queue: str) -> bool:
        """See :meth:`guestagent.bus.base.Bus.is_gone`."""
        return queue in self._gone

    def reconnect(self, reason: str) -> None:
        """See :meth:`guestagent.bus.base.Bus.reconnect`."""
        if self._link is not None:
            self._link.fail(ConnectionResetError(reason))

    def relocate(self, transport_url: str) -> None:
        """See :meth:`guestagent.bus.base.Bus.relocate`."""
        brokers = url.parse(transport_url).brokers
        self._brokers = attempts.Brokers(brokers, self._settings.shuffle)

    def pause(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.pause`."""
        self._paused = True
        if self._link is not None:
            self._link.cancel()

    def close(self) -> None:
        """See :meth:`guestagent.bus.base.Bus.close`."""
        self._closed = True
        self.connected = False
        self._cancel_timers()
        if self._link is not None:
            self._link.close()
            self._link = None

    # The connection

    def _connect(self) -> None:
        threading.Thread(
            target=self._connect_thread, name='connect', daemon=True
        ).start()

    def _connect_thread(self) -> None:
        """Make a link and hand it, or what went wrong, to the loop."""
        broker = self._brokers.current
        try:
            made = link.Link(broker, self._settings.access)
        except (*link.ERRORS, errors.ConfigError) as error:
            self._loop.call_soon(self._not_connected, error)
        except Exception as error:
            # py-amqp raises many things when a peer is no broker at all.
            LOG.debug('connecting to %s', broker, exc_info=True)
            self._loop.call_soon(self._not_connected, error)
        else:
            self._loop.call_soon(self._attach, made)

    def _not_connected(self, reason: Exception) -> None:
        """Go on to the next broker, after a while."""
        if self._closed:
            return
        wait = self._connections.failed()
        LOG.warning(
            'RabbitMQ at %s, virtual host %s: %s; next attempt in %.1f s',
            self._brokers.current,
            self._settings.access.virtual_host,
            reasons.explain(reason),
            wait,
        )
        self._brokers.advance()
        self._later('connect', wait, self._connect)

    def _attach(self, made: link.Link) -> None:
        if self._closed:
            made.close()
            return
        self._link = made
        made.attach(self._loop, self, self._settings.limits)
        self._tick()
        self._open()

    def _tick(self) -> None:
        if self._link is not None and self._link.tick_interval is not None:
            self._later('tick', self._link.tick_interval, self._tick)
            self._link.tick()

    def on_lost(self, reason: Exception) -> None:
        """Keep what may not have arrived, and connect again."""
        self._link = None
        self._blocked = False
        self._cancel_timers()
        self._down()
        self._not_connected(reason)

    # The channel

    def _open(self) -> None:
        if self._link is not None:
            self._later('open', self._settings.access.timeout, self._not_open)
            self._link.open(self._settings.layout, consume=not self._paused)

    def _not_open(self) -> None:
        if self._blocked:
            # The broker reads nothing; it will answer when it does again.
            self._later('open', self._settings.access.timeout, self._not_open)
        elif self._link is not None:
            seconds = self._settings.access.timeout
            self._link.fail(TimeoutError(f'no answer within {seconds:g} s'))

    def on_up(self) -> None:
        """Send what waits."""
        self._timers.pop('open').cancel()
        self._connections.succeeded()
        self._channels.succeeded()
        if self._link is not None:
            LOG.info('connected to RabbitMQ at %s', self._link.broker)
        self._schedule_declare()
        self._resume()

    def on_channel_lost(self, reason: Exception) -> None:
        """Keep what may not have arrived, and open another channel."""
        self._down()
        wait = self._channels.failed()
        LOG.warning(
            'RabbitMQ at %s closed the channel: %s; next attempt in %.1f s',
            self._brokers.current,
            reasons.explain(reason, self._settings.layout.report_exchange),
            wait,
        )
        self._later('open', wait, self._open)

    def on_cancelled(self) -> None:
        """Declare the queue again and take its messages again, after a while."""
        wait = self._channels.failed()
        LOG.warning(
            'RabbitMQ at %s: the queue %s was deleted, or its node is down; it is '
            'declared again in %.1f s',
            self._brokers.current,
            self._settings.layout.topic,
            wait,
        )
        self._later('consume', wait, self._consume_again)

    def _consume_again(self) -> None:
        if self._link is not None and not self._paused:
            self._link.declare()
            self._link.consume(self._settings.layout.topic)
            self._channels.succeeded()

    def _schedule_declare(self) -> None:
        interval = self._settings.redeclare_interval
        if interval:
            # A fleet that was connected together must not declare together.
            self._later(
                'declare', interval * random.uniform(0.5, 1.0), self._declare_again
            )

    def _declare_again(self) -> None:
        if self._link is not None:
            self._link.declare()
            self._schedule_declare()

    # What comes and goes

    def on_delivery(self, delivery: base.Delivery) -> None:
        """See the base class."""
        self._received(delivery)

    def on_blocked(self, blocked: bool) -> None:
        """Send nothing while the broker takes nothing."""
        if blocked == self._blocked or self._link is None:
            return
        self._blocked = blocked
        if blocked:
            self.connected = False
            LOG.warning(
                'RabbitMQ at %s blocks what publishes: it is short of memory or disk '
                '(its log says of which); replies and reports wait here',
                self._link.broker,
            )
        else:
            LOG.info('RabbitMQ at %s takes messages again', self._link.broker)
            if 'open' not in self._timers:
                self._resume()

    def _resume(self) -> None:
        if not self._blocked:
            self.connected = True
            self._send_replies()
            self._on_connected()

    def _send_replies(self) -> None:
        while self.connected:
            reply = self._outbox.take()
            if reply is None or not self._publish(reply):
                return

    def _publish(self, message: outbox.Message) -> bool:
        if self._link is None:
            return False
        tag = self._link.publish(message.exchange, message.key, message.body)
        if tag is None:
            return False
        self._outbox.sent(tag, message)
        return True

    def _down(self) -> None:
        """Note that nothing can be sent, and that no confirm will come."""
        self.connected = False
        for name in ('open', 'declare', 'consume'):
            if name in self._timers:
                self._timers.pop(name).cancel()
        reports, given_up = self._outbox.lost()
        for report in reports:
            report.done(base.Sent.LOST)
        self._give_up(given_up)

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """See the base class."""
        for message, outcome in self._outbox.settle(tag, multiple, accepted):
            if isinstance(message, outbox.Report):
                message.done(outcome)
            elif isinstance(message, outbox.Reply):
                if outcome is not base.Sent.CONFIRMED:
                    self._reply_failed(message)
                if message.done is not None:
                    message.done(outcome)
        self._send_replies()

    def on_return(self, tag: int) -> None:
        """See the base class."""
        self._outbox.returned(tag)

    def _reply_failed(self, reply: outbox.Reply) -> None:
        """Remember that nobody reads this queue; nothing is repeated."""
        self._gone.add(reply.key)
        held = self._log_limit.allow('gone')
        if held is not None:
            LOG.info(
                'a reply to %s was returned: its client has gone (%d more since '
                'the last line like this)',
                reply.key,
                held,
            )

    def _give_up(self, replies: list[outbox.Reply]) -> None:
        for reply in replies:
            held = self._log_limit.allow('full')
            if held is not None:
                LOG.warning(
                    'too many replies wait for RabbitMQ: the oldest, to %s, is '
                    'dropped (%d more since the last line like this)',
                    reply.key,
                    held,
                )
            if reply.done is not None:
                reply.done(base.Sent.LOST)

    # Timers, one of each name

    def _later(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, callback)

    def _cancel_timers(self) -> None:
        while self._timers:
            self._timers.popitem()[1].cancel()
