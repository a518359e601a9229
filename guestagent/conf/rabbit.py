# SPDX-License-Identifier: Apache-2.0
"""The agent's options of RabbitMQ, which its URL's query may also set.

Names, defaults and meanings are oslo.messaging's where it has the option; where ours
differs, its help says so.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from guestagent import errors

SECTION = 'oslo_messaging_rabbit'

_TLS = [
    cfg.BoolOpt(
        'ssl',
        default=False,
        help='Connect through TLS. The port must be given (5671 as a rule); without '
        'it is 5672.',
    ),
    cfg.StrOpt(
        'ssl_ca_file',
        default='',
        help='The authority (PEM) that must have signed the certificate of the '
        "broker, which must be for the name in transport_url. Unset: the system's "
        'authorities are trusted and the name is not verified, as with '
        'oslo.messaging.',
    ),
    cfg.StrOpt(
        'ssl_cert_file',
        default='',
        help='The certificate (PEM) that this agent shows to the broker, with those '
        'between it and the authority.',
    ),
    cfg.StrOpt(
        'ssl_key_file',
        default='',
        help='The key (PEM, no password) of that certificate. Unset: it is in the '
        'same file.',
    ),
    cfg.StrOpt(
        'ssl_version',
        default='',
        choices=['', 'SSLv23', 'TLSv1_2', 'TLSv1_3'],
        ignore_case=True,
        help='TLSv1_2 or TLSv1_3: that version only. Unset or SSLv23: the newest '
        'that both sides know, not below 1.2. (oslo.messaging does not verify the '
        'certificate without ssl_ca_file when this is set; the agent does.)',
    ),
]

_DECLARED = [
    cfg.BoolOpt(
        'amqp_durable_queues',
        default=False,
        help='Declare exchange and request queue durable. It must be the '
        'same in the control plane, or the broker refuses (406).',
    ),
    cfg.BoolOpt(
        'amqp_auto_delete',
        default=False,
        help='Declare exchange and request queue such that the broker deletes them '
        'after their last user. It must be the same in the control plane.',
    ),
    cfg.BoolOpt(
        'rabbit_quorum_queue',
        default=False,
        help='Declare the request queue as a quorum queue, and the exchange '
        'durable. Of a cluster that loses nodes such a queue survives.',
    ),
    cfg.BoolOpt(
        'rabbit_transient_quorum_queue',
        default=False,
        help='Declare the fanout exchange durable. It must be the same in the '
        'control plane.',
    ),
    cfg.IntOpt(
        'rabbit_quorum_delivery_limit',
        default=0,
        min=0,
        help='How often a quorum queue delivers a message again before it is '
        'dropped. 0: no limit.',
    ),
    cfg.IntOpt(
        'rabbit_quorum_max_memory_length',
        default=0,
        min=0,
        help='How many messages of a quorum queue the broker keeps in memory. 0: no '
        'limit.',
    ),
    cfg.IntOpt(
        'rabbit_quorum_max_memory_bytes',
        default=0,
        min=0,
        help='How many bytes of a quorum queue the broker keeps in memory. 0: no '
        'limit.',
    ),
    cfg.IntOpt(
        'rabbit_qos_prefetch_count',
        default=0,
        min=0,
        max=10000,
        help='How many messages may be unacknowledged. 0: as many as workers '
        'and backlog hold, and 32 more, so that ping never waits. '
        '(oslo.messaging: 0 is no limit.)',
    ),
    cfg.BoolOpt(
        'declare',
        default=True,
        help='Declare exchanges, request queue and bindings. false: whoever enrols '
        'this guest has made them durable, and its account may declare nothing; '
        'fanouts then do not reach it. (oslo.messaging has no such option.)',
    ),
    cfg.FloatOpt(
        'redeclare_interval',
        default=600,
        min=0,
        max=86400,
        help='How many seconds until exchanges, queue and bindings are declared '
        'again: if somebody has deleted an exchange the agent would not notice. '
        '0: never. (oslo.messaging has no such option.)',
    ),
]

_CONNECTING = [
    cfg.StrOpt(
        'rabbit_login_method',
        default='AMQPLAIN',
        choices=['PLAIN', 'AMQPLAIN', 'EXTERNAL'],
        help='How to log in. EXTERNAL: by the certificate; no password is sent.',
    ),
    cfg.StrOpt(
        'kombu_failover_strategy',
        default='round-robin',
        choices=['round-robin', 'shuffle'],
        help='Which of several brokers is next: always in the order that was drawn '
        'at the start, or drawn again for each time around.',
    ),
    cfg.IntOpt(
        'heartbeat_timeout_threshold',
        default=60,
        min=0,
        max=3600,
        help='After how many seconds without a sign of life, twice in a row, the '
        'connection to the broker counts as dead. 0: never.',
    ),
    cfg.FloatOpt(
        'kombu_reconnect_delay',
        default=1.0,
        min=0.1,
        max=60,
        help='How many seconds to wait before the first reconnect, once no broker is '
        'left to try; it doubles with each time around. A random part of up to half of '
        'it is left out.',
    ),
    cfg.FloatOpt(
        'kombu_reconnect_splay',
        default=1.0,
        min=0.0,
        max=300,
        help='A random time, up to this many seconds, that is added to each '
        'wait, so that a fleet does not come back at once. '
        '(oslo.messaging: 0.)',
    ),
    cfg.IntOpt(
        'rabbit_interval_max',
        default=30,
        min=1,
        max=3600,
        help='The longest wait between two attempts to connect, in seconds.',
    ),
    cfg.FloatOpt(
        'connect_timeout',
        default=10,
        min=0.1,
        max=300,
        help='How many seconds the broker has for each answer while a connection is '
        'made, and three times as many for all of them. (oslo.messaging has no such '
        'option.)',
    ),
]

OPTIONS = [*_CONNECTING, *_TLS, *_DECLARED]

#: oslo.messaging's others.  They may stand in a URL that control planes share with
#: their guests, and mean nothing here.
NOT_USED = frozenset(
    (
        'conn_pool_min_size',
        'conn_pool_ttl',
        'direct_mandatory_flag',
        'enable_cancel_on_failover',
        'heartbeat_rate',
        'hostname',
        'kombu_compression',
        'kombu_missing_consumer_retry_timeout',
        'processname',
        'rabbit_ha_queues',
        'rabbit_retry_backoff',
        'rabbit_retry_interval',
        'rabbit_stream_fanout',
        'rabbit_transient_queues_ttl',
        'rpc_conn_pool_size',
        'ssl_enforce_fips_mode',
        'ssl_enforce_hostname_verification',
        'use_queue_manager',
    )
)


def settings(conf: Any, query: Mapping[str, str]) -> types.SimpleNamespace:
    """Return the options by name: ``conf``'s, where the URL's query has no other.

    :raises guestagent.errors.ConfigError: the query names what is no option, or has a
        value that the option does not take.
    """
    group = conf[SECTION]
    values = {option.dest: group[option.dest] for option in OPTIONS}
    types_ = {option.dest: option.type for option in OPTIONS}
    for name, text in query.items():
        if name in types_:
            try:
                values[name] = types_[name](text)
            except ValueError as error:
                raise errors.ConfigError(
                    f'transport_url: the option {name}={text}: {error}'
                ) from None
        elif name not in NOT_USED:
            raise errors.ConfigError(
                f'transport_url: {name!r} is no option of [{SECTION}]'
            )
    return types.SimpleNamespace(**values)
