# SPDX-License-Identifier: Apache-2.0
"""The options of the conductor: its database, and how it takes reports.

Those of the bus (``transport_url``, ``control_exchange``, the section
``[oslo_messaging_rabbit]``) are oslo.messaging's own.
"""

from typing import Any

from oslo_config import cfg

from guestagent import numbers
from guestagent.bus import topics
from guestagent.conf import common

DATABASE = [
    cfg.StrOpt(
        'connection',
        secret=True,
        default='sqlite:////var/lib/guestagent-conductor/conductor.sqlite',
        help='The database, as a URL of SQLAlchemy. SQLite serves one machine '
        'without any server; several conductors share a database of '
        'PostgreSQL (postgresql+psycopg://user:password@host/name) or '
        'MariaDB (mariadb+pymysql://user:password@host/name), whose '
        'driver must be installed.',
    )
]

CONDUCTOR = [
    cfg.IntOpt(
        'batch_size',
        default=500,
        min=1,
        max=5000,
        help='How many reports are written in one transaction at most. Twice '
        'as many are taken from the broker ahead.',
    ),
    cfg.FloatOpt(
        'batch_timeout',
        default=0.2,
        min=0.0,
        max=10.0,
        help='How long to wait for a batch to fill, in seconds from its first '
        'report. It is also how late a report may become visible.',
    ),
    cfg.FloatOpt(
        'down_after',
        default=0.0,
        min=0.0,
        max=86400.0,
        help='After how many seconds without a heartbeat an instance is '
        'DOWN. 0: three times the interval that its last heartbeat '
        'named.',
    ),
    cfg.FloatOpt(
        'conflict_after',
        default=10.0,
        min=0.1,
        max=3600.0,
        help='For how many seconds an agent must go on after another of the same '
        'instance id has started, and for half the interval between its '
        'heartbeats at least, until the two count as a conflict. Reports that '
        'were on their way must have come by then.',
    ),
    cfg.FloatOpt(
        'facts_gap_after',
        default=5.0,
        min=0.1,
        max=3600.0,
        help='For how many seconds a report of facts must be missing until the '
        'instance is asked for a full one. What other conductors have in hand '
        'must have come by then.',
    ),
    cfg.FloatOpt(
        'facts_ask_rate',
        default=20.0,
        min=0.1,
        max=10000.0,
        help='How many instances are asked for a full report of facts in a second, '
        'by all conductors together. None is asked twice within a minute.',
    ),
    cfg.FloatOpt(
        'sweep_interval',
        default=5.0,
        min=0.1,
        max=3600.0,
        mutable=True,
        help='How many seconds lie between two looks for instances that are DOWN.',
    ),
    cfg.IntOpt(
        'event_retention',
        default=30,
        min=0,
        max=36500,
        mutable=True,
        help='How many days events are kept. 0: for ever.',
    ),
    cfg.IntOpt(
        'outcome_retention',
        default=30,
        min=0,
        max=36500,
        mutable=True,
        help='How many days outcomes of commands are kept. 0: for ever.',
    ),
    cfg.ListOpt(
        'series_facts',
        default=list(numbers.FACTS),
        help='The facts whose numbers are kept as series (guestctl graph); * and ? '
        'stand for any characters, and any one.',
    ),
    cfg.FloatOpt(
        'series_step',
        default=60.0,
        min=0.0,
        max=86400.0,
        help='How many seconds lie between two points of a series at least. 0: no '
        'series are kept.',
    ),
    cfg.FloatOpt(
        'series_retention',
        default=1.0,
        min=0.01,
        max=3650.0,
        mutable=True,
        help='How many days points of series are kept.',
    ),
    cfg.IntOpt(
        'prune_limit',
        default=5000,
        min=100,
        max=1000000,
        mutable=True,
        help='How many rows of each table one sweep deletes at most, so that '
        'it holds no lock for long.',
    ),
    cfg.IntOpt(
        'rpc_workers',
        default=8,
        min=1,
        max=256,
        help='How many queries are answered at once, each on a thread.',
    ),
    cfg.IntOpt(
        'report_queue_length',
        default=topics.REPORT_QUEUE_LENGTH,
        min=1000,
        max=1000000000,
        help='How many reports the broker keeps before it rejects more; guests '
        'then send them again later. It is fixed when the queue is first '
        'declared and must be the same in all conductors.',
    ),
    cfg.IntOpt(
        'max_report_size',
        default=4 * 1024 * 1024,
        min=64 * 1024,
        max=128 * 1024 * 1024,
        help='The largest report that is taken, in bytes; a larger one is '
        'dropped with a line in the log. The database must take a row of '
        'this size (MariaDB: max_allowed_packet).',
    ),
    cfg.BoolOpt(
        'allow_plain_reports',
        default=False,
        help='With a key ([seal] key_file): whether reports that are not sealed count '
        'too. Then anybody on the bus can report for any instance; it is for the time '
        'in which guests get their keys. Reports from a hub always count: it knows '
        'its guests.',
    ),
    cfg.FloatOpt(
        'report_rate',
        default=200.0,
        min=0.0,
        max=1000000.0,
        help='How many reports of one instance are taken in a second in the long run; '
        'more are dropped, and an event says so. 0: as many as come. A guest that '
        'was away sends what waited no faster than its [spool] send_rate.',
    ),
    cfg.IntOpt(
        'report_burst',
        default=20000,
        min=1,
        max=10000000,
        help='How many reports of one instance are taken at once.',
    ),
    cfg.IntOpt(
        'max_vhosts',
        default=100,
        min=0,
        max=5000,
        help='From how many virtual hosts of guests (doc/enrolment.rst) reports are '
        'taken; each costs a connection and a thread.',
    ),
    cfg.IntOpt(
        'graceful_shutdown_timeout',
        default=10,
        min=1,
        max=600,
        help='How many seconds the batch and the queries in hand may take to '
        'end when the conductor is stopped. Reports that were not written '
        'by then stay in the queue.',
    ),
]

SECTIONS: list[tuple[str, list[Any]]] = [
    ('database', DATABASE),
    ('conductor', CONDUCTOR),
]


def register(conf: Any) -> None:
    """Register the options on ``conf``, with those shared with the agent."""
    common.register(conf)
    for section, options in SECTIONS:
        conf.register_opts(options, group=section)
