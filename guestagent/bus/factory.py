# SPDX-License-Identifier: Apache-2.0
"""Make the bus that the configuration names."""

from __future__ import annotations

from typing import Any

from guestagent import loop as loops
from guestagent.bus import amqp, base, link, topics, url


def make(conf: Any, loop: loops.Loop, instance: str) -> base.Bus:
    """Return the bus of an agent, not yet started.

    :raises guestagent.errors.ConfigError: ``transport_url`` makes no sense.
    """
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


def _prefetch(dispatcher: Any) -> int:
    """More than can be in flight, so that a ping is never behind a full window."""
    return int(dispatcher.workers + dispatcher.backlog + 32)
