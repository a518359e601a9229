# SPDX-License-Identifier: Apache-2.0
"""``guestagent --check-bus``: which rights this guest's account has on RabbitMQ.

Each right is tried, and in such a way that nothing is left behind and no message moves:
what is published is rolled back, and what would be read or deleted is not there.  The
agent may run meanwhile.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import amqp

from guestagent import errors
from guestagent.agent import instance
from guestagent.bus import once, reasons, topics, url, where
from guestagent.conf import rabbit

OK, MISSING, EXCESS, NOTE = 'ok', 'MISSING', 'TOO MUCH', 'note'

#: Does something on a channel, or is refused.
_Try = Callable[[amqp.Channel], object]


class Finding(NamedTuple):
    """A right, as it is and as it should be.

    :ivar verdict: OK, MISSING, EXCESS or NOTE.
    """

    verdict: str
    text: str


def check(conf: Any) -> list[Finding]:
    """Try all rights.

    :raises guestagent.errors.ConfigError: the bus is not RabbitMQ, or its URL is wrong.
    :raises guestagent.errors.Transient: the broker cannot be reached, or does not let
        this guest in.
    """
    if where.is_channel(conf.transport_url):
        raise errors.ConfigError(
            'transport_url: a hub knows a guest by its socket, and lets it do nothing '
            'but take requests, reply and report; there is nothing to check'
        )
    return list(_Check(conf).findings())


def is_bad(findings: list[Finding]) -> bool:
    """Whether a right is missing, or one is there that should not be."""
    return any(finding.verdict in (MISSING, EXCESS) for finding in findings)


class _Check:
    def __init__(self, conf: Any) -> None:
        self._conf = conf
        self._queue = topics.request_topic(instance.find(conf.instance_id))
        # Nobody has this, and its name is one that a guest could have.
        self._other = topics.request_topic(f'check-{uuid.uuid4().hex}')
        self._url = url.parse(conf.transport_url)
        self._settings = rabbit.settings(conf, self._url.query)
        self._is_alone = self._url.virtual_host == self._queue
        self._connection = self._connect(conf.transport_url)

    def findings(self) -> Iterator[Finding]:
        """Yield one for each right."""
        try:
            yield self._secrecy()
            yield from self._needed()
            yield from self._excess()
            yield self._others()
        except once.LOST as error:
            raise errors.Transient(
                f'RabbitMQ has ended the check: {reasons.explain(error)}'
            ) from None
        finally:
            self._connection.collect()

    def _connect(self, transport_url: str) -> amqp.Connection:
        try:
            return once.connect(self._conf, transport_url, f'{self._queue} check')
        except once.LOST as error:
            raise errors.Transient(
                f'RabbitMQ: {reasons.explain(error)}; virtual host '
                f'{self._url.virtual_host}'
            ) from None

    def _secrecy(self) -> Finding:
        if self._settings.ssl and self._settings.ssl_ca_file:
            return Finding(OK, 'the connection is encrypted, and the broker known')
        if self._settings.ssl:
            return Finding(NOTE, 'ssl_ca_file is not set: any certificate will do')
        return Finding(NOTE, 'the connection is not encrypted')

    def _needed(self) -> Iterator[Finding]:
        conf, queue = self._conf, self._queue
        if (
            self._try(lambda channel: channel.queue_declare(queue, passive=True))
            is None
        ):
            yield Finding(
                MISSING,
                f'the queue {queue} is not there: the agent makes it when it starts, '
                f'or "guestctl instance enroll" does',
            )
            return
        # The agent keeps its messages: they go to the consumer of the highest rank.
        rank = {'x-priority': -100}
        key = topics.report_queue(conf.report_topic)
        yield self._judge_need(
            'take requests from its queue',
            lambda channel: channel.basic_consume(queue, arguments=rank),
        )
        yield self._judge_need('reply', _publishing('', 'reply_check'))
        yield self._judge_need('report', _publishing(conf.report_topic, key))
        if self._settings.declare:
            yield self._judge_need(
                'declare its queue', lambda channel: _declare_otherwise(channel, queue)
            )

    def _excess(self) -> Iterator[Finding]:
        conf, other = self._conf, self._other
        control, reports = conf.control_exchange, conf.report_topic
        attempts: dict[str, _Try] = {
            "read other guests' queues": lambda channel: _read(channel, other),
            "delete other guests' queues": lambda channel: channel.queue_delete(other),
            'make queues': lambda channel: channel.queue_declare(other, exclusive=True),
            'send requests to other guests': _publishing(control, other),
            "have other guests' requests copied to it": self._bind,
            'delete the exchange of requests': lambda channel: _alter(channel, control),
            'delete the exchange of reports': lambda channel: _alter(channel, reports),
            'publish other things than reports to their exchange': _publishing(
                reports, 'check'
            ),
        }
        for text, attempt in attempts.items():
            yield self._judge_excess(text, self._try(attempt))

    def _judge_need(self, text: str, attempt: _Try) -> Finding:
        may = self._try(attempt)
        if may is None:
            return Finding(MISSING, f'cannot {text}: what it needs for it is not there')
        return (
            Finding(OK, f'may {text}') if may else Finding(MISSING, f'may not {text}')
        )

    def _judge_excess(self, text: str, may: bool | None) -> Finding:
        if may is None:
            return Finding(OK, f'there is nothing with which it could {text}')
        if may and self._is_alone:
            return Finding(OK, f'may {text}, in a virtual host where it is alone')
        return Finding(EXCESS, f'may {text}') if may else Finding(OK, f'may not {text}')

    def _others(self) -> Finding:
        """Say what the default exchange is good for, or who else can be reached."""
        if not self._is_alone:
            return Finding(
                NOTE,
                'who may reply can write to each queue of this virtual host: what '
                'guests and the conductor take must be sealed',
            )
        there = url.write(dataclasses.replace(self._url, virtual_host='/'))
        try:
            once.connect(self._conf, there, f'{self._queue} check').collect()
        except once.LOST:
            return Finding(OK, 'may not enter the virtual host /')
        return Finding(EXCESS, 'may enter the virtual host /')

    def _bind(self, channel: amqp.Channel) -> None:
        exchange = self._conf.control_exchange
        channel.queue_bind(self._queue, exchange, self._other)
        channel.queue_unbind(self._queue, exchange, self._other)

    def _try(self, attempt: _Try) -> bool | None:
        """Return whether the broker allows it; ``None``: there is no such thing."""
        channel = self._connection.channel()
        try:
            attempt(channel)
        except amqp.AccessRefused:
            return False
        except amqp.NotFound:
            return None
        except amqp.PreconditionFailed:
            return True
        channel.close()
        return True


def _publishing(exchange: str, key: str) -> _Try:
    """Return what publishes nothing: the broker judges it, and it is rolled back."""

    def publish(channel: amqp.Channel) -> None:
        channel.tx_select()
        channel.basic_publish(amqp.Message(''), exchange, key)
        channel.tx_rollback()

    return publish


def _read(channel: amqp.Channel, queue: str) -> None:
    """Read a queue that is not there: who may not is told that first."""
    try:
        channel.basic_get(queue)
    except amqp.NotFound as error:
        raise amqp.PreconditionFailed('it could be read') from error


def _declare_otherwise(channel: amqp.Channel, queue: str) -> None:
    """Declare a queue that is there as it is not: who may is told that."""
    channel.queue_declare(queue, arguments={'x-max-priority': 1})


def _alter(channel: amqp.Channel, exchange: str) -> None:
    """Declare an exchange that is there as it is not: the right is that to delete."""
    channel.exchange_declare(exchange, 'topic', passive=True)
    channel.exchange_declare(exchange, 'headers')
