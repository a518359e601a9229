# SPDX-License-Identifier: Apache-2.0
"""Make the bus that the configuration names."""

from __future__ import annotations

from typing import Any

from guestagent import errors, imports
from guestagent import loop as loops
from guestagent.bus import amqp, base, link, topics, url


def make(conf: Any, loop: loops.Loop, instance: str) -> base.Bus:
    """Return the bus of an agent, not yet started.

    :raises guestagent.errors.ConfigError: ``transport_url`` makes no sense, or the
        library that the bus needs is not installed.
    """
    if conf.bus.driver == 'reference':
        return _make_reference(conf, loop, instance)
    where = url.parse(conf.transport_url)
    rabbit = conf.oslo_messaging_rabbit
    layout = link.Layout(
        exchange=conf.control_exchange,
        topic=topics.request_topic(instance),
        server=instance,
        report_exchange=conf.report_topic,
        durable=rabbit.amqp_durable_queues,
        quorum=rabbit.rabbit_quorum_queue,
        prefetch=rabbit.rabbit_qos_prefetch_count or _prefetch(conf.dispatcher),
        max_message_size=conf.bus.max_message_size,
    )
    return amqp.AmqpBus(
        loop,
        where,
        layout,
        heartbeat=rabbit.heartbeat_timeout_threshold,
        connect_timeout=rabbit.connect_timeout,
        retry=(
            rabbit.kombu_reconnect_delay,
            rabbit.kombu_reconnect_splay,
            rabbit.rabbit_interval_max,
        ),
    )


def _make_reference(conf: Any, loop: loops.Loop, instance: str) -> base.Bus:
    # oslo.messaging imports it wherever it is installed.
    imports.refuse('eventlet')
    try:
        from guestagent.bus import reference
    except ImportError as error:
        raise errors.ConfigError(
            f'[bus] driver = reference needs oslo.messaging ({error}); install '
            f'guestagent[reference], or use driver = amqp'
        ) from None
    return reference.make(conf, loop, instance)


def _prefetch(dispatcher: Any) -> int:
    """More than can be in flight, so that a ping is never behind a full window."""
    return int(dispatcher.workers + dispatcher.backlog + 32)
