# SPDX-License-Identifier: Apache-2.0
"""Make the bus on RabbitMQ from the configuration; imported where it is wanted."""

from __future__ import annotations

from typing import Any

from guestagent import loop as loops
from guestagent.bus import amqp, amqp_channel, attempts, base, link, outbox, topics, url
from guestagent.conf import rabbit


def make(conf: Any, loop: loops.Loop, instance: str, prefetch: int) -> base.Bus:
    """Return the bus of an agent, not yet started.

    :param prefetch: where the options of RabbitMQ name none.
    :raises guestagent.errors.ConfigError: ``transport_url`` makes no sense.
    """
    where = url.parse(conf.transport_url)
    settings = rabbit.settings(conf, where.query)
    return amqp.AmqpBus(
        loop,
        where.brokers,
        amqp.Settings(
            access=_access(settings, where.virtual_host, instance),
            layout=_layout(settings, conf, instance, prefetch),
            limits=link.Limits(
                max_message_size=conf.bus.max_message_size,
                # What is on its way, a reply beyond it, and as much of reports.
                unsent_max=2 * (outbox.WINDOW + conf.dispatcher.max_result_size),
            ),
            retry=attempts.Retry(
                settings.kombu_reconnect_delay,
                settings.kombu_reconnect_splay,
                settings.rabbit_interval_max,
            ),
            shuffle=settings.kombu_failover_strategy == 'shuffle',
            redeclare_interval=settings.redeclare_interval,
        ),
    )


def _access(settings: Any, virtual_host: str, instance: str) -> link.Access:
    """Return how the broker lets the agent in.

    :raises guestagent.errors.ConfigError: what the options say of TLS is of no use.
    """
    return link.Access(
        virtual_host=virtual_host,
        name=topics.request_topic(instance),
        login_method=settings.rabbit_login_method,
        tls=_tls(settings),
        heartbeat=settings.heartbeat_timeout_threshold,
        timeout=settings.connect_timeout,
    )


def _layout(
    settings: Any, conf: Any, instance: str, prefetch: int
) -> amqp_channel.Layout:
    """Return the exchanges and queues that the agent uses."""
    return amqp_channel.Layout(
        exchange=conf.control_exchange,
        topic=topics.request_topic(instance),
        server=instance,
        report_exchange=conf.report_topic,
        durable=settings.amqp_durable_queues or settings.rabbit_quorum_queue,
        auto_delete=settings.amqp_auto_delete,
        durable_fanout=settings.rabbit_transient_quorum_queue,
        queue_arguments=_queue_arguments(settings),
        declared=settings.declare,
        prefetch=settings.rabbit_qos_prefetch_count or prefetch,
    )


def _tls(settings: Any) -> Any:
    """Return what the options say of TLS, its files read once; ``None``: no TLS.

    :raises guestagent.errors.ConfigError: one of them is of no use.
    """
    if not settings.ssl:
        return None
    # A guest without TLS need not hold it in memory.
    from guestagent.bus import tls

    made = tls.Tls.of(settings)
    made.check()
    return made


def _queue_arguments(settings: Any) -> dict[str, Any]:
    """Return the request queue's, as oslo.messaging makes them."""
    if not settings.rabbit_quorum_queue:
        return {}
    limits = {
        'x-delivery-limit': settings.rabbit_quorum_delivery_limit,
        'x-max-in-memory-length': settings.rabbit_quorum_max_memory_length,
        'x-max-in-memory-bytes': settings.rabbit_quorum_max_memory_bytes,
    }
    set_ = {name: limit for name, limit in limits.items() if limit}
    return {'x-queue-type': 'quorum', **set_}
