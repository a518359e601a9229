# SPDX-License-Identifier: Apache-2.0
"""One question to RabbitMQ, waited for: for what is done before there is a loop."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import amqp

from guestagent import errors
from guestagent.bus import envelope, tls, url
from guestagent.conf import rabbit

#: What may go wrong on the way; it may go well another time.
LOST = (OSError, amqp.AMQPError)


def connect(conf: Any, transport_url: str, name: str) -> amqp.Connection:
    """Return a connection to the first broker of a URL that lets us in.

    :param conf: with the section ``[oslo_messaging_rabbit]``, where the URL's query
        has no other.
    :param name: what it is called in the broker's lists.
    :raises guestagent.errors.ConfigError: the URL makes no sense.
    :raises OSError, amqp.AMQPError: none did.
    """
    where = url.parse(transport_url)
    settings = rabbit.settings(conf, where.query)
    files = tls.Tls.of(settings)
    if settings.ssl:
        files.check()
    for broker in where.brokers:
        made = amqp.Connection(
            str(broker),
            userid=broker.username,
            password=broker.password,
            login_method=settings.rabbit_login_method,
            virtual_host=where.virtual_host,
            ssl=files.parameters(broker.hostname) if settings.ssl else False,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.connect_timeout,
            write_timeout=settings.connect_timeout,
            client_properties={'product': 'guestagent', 'connection_name': name},
        )
        try:
            made.connect()
        except LOST:
            made.collect()
            if broker is where.brokers[-1]:
                raise
        else:
            return made
    raise errors.ConfigError('the transport URL names no broker')


def ask(
    connection: amqp.Connection,
    topic: str,
    call: Mapping[str, Any],
    reply_queue: str,
    seconds: float,
) -> Any:
    """Call a method on an exchange and topic of the same name; return its result.

    :param call: ``namespace``, ``method``, ``version`` and ``args``.
    :param reply_queue: how the name of the reply's queue begins; nobody else can read
        it, and it goes with the connection.
    :raises guestagent.errors.Refused: the other side refuses it; with its reason.
    :raises OSError, amqp.AMQPError: no answer came.
    """
    channel = connection.channel()
    queue, msg_id = f'{reply_queue}{uuid.uuid4().hex}', uuid.uuid4().hex
    channel.queue_declare(queue, exclusive=True, auto_delete=True)
    came: list[dict[str, Any]] = []
    channel.basic_consume(
        queue, no_ack=True, callback=lambda message: came.append(_read(message))
    )
    fields = {**call, '_msg_id': msg_id, '_reply_q': queue, '_timeout': None}
    channel.basic_publish(_message(fields, seconds), topic, topic)
    until = time.monotonic() + seconds
    while True:
        for answer in came:
            if answer.get('_msg_id') == msg_id and answer.get('ending', True):
                return _result(answer)
        came.clear()
        connection.drain_events(timeout=max(0.001, until - time.monotonic()))


def _message(fields: Mapping[str, Any], seconds: float) -> amqp.Message:
    """Return a request that its queue keeps no longer than somebody waits for it."""
    return amqp.Message(
        envelope.wrap({**fields, '_unique_id': uuid.uuid4().hex}),
        content_type='application/json',
        content_encoding='utf-8',
        delivery_mode=2,
        expiration=str(int(seconds * 1000)),
    )


def _read(message: Any) -> dict[str, Any]:
    try:
        fields = json.loads(json.loads(message.body)['oslo.message'])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _result(answer: Mapping[str, Any]) -> Any:
    if answer.get('failure') is None:
        return answer.get('result')
    try:
        reason = str(json.loads(answer['failure'])['message'])
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = 'for no reason that can be read'
    raise errors.Refused(f'it is refused: {reason:.300}')
