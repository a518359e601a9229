# SPDX-License-Identifier: Apache-2.0
"""Cast to a guest that is alone in a virtual host, on a connection for that cast.

Such casts are rare: oslo.messaging would keep connections to each virtual host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import amqp
import kombu

from guestagent.bus import envelope
from guestagent.conductor import broker


def cast(
    hosts: Sequence[broker.Host], exchange: str, topic: str, request: Mapping[str, Any]
) -> None:
    """Send a request that nobody answers, and wait until a broker has it.

    :param hosts: tried one after the other.
    :param request: ``namespace``, ``method``, ``version`` and ``args``.
    :raises OSError, amqp.AMQPError: none of them takes it.
    """
    body = envelope.wrap({**request, '_unique_id': envelope.unique_id()})
    message = amqp.Message(
        body, content_type='application/json', content_encoding='utf-8', delivery_mode=2
    )
    *others, last = hosts
    for host in others:
        with contextlib.suppress(*broker.LOST):
            _publish(host, exchange, topic, message)
            return
    _publish(last, exchange, topic, message)


def _publish(
    host: broker.Host, exchange: str, topic: str, message: amqp.Message
) -> None:
    options = {**host.parameters['transport_options'], 'confirm_publish': True}
    connection = kombu.Connection(**{**host.parameters, 'transport_options': options})
    try:
        connection.connect()
        connection.connection.sock.settimeout(broker.ANSWER_TIMEOUT)
        channel = connection.channel()
        channel.basic_publish(message, exchange, topic, timeout=broker.ANSWER_TIMEOUT)
    finally:
        connection.collect()
