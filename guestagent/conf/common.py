# SPDX-License-Identifier: Apache-2.0
"""Options that the agent and the conductor share: reports, logging and metrics."""

from typing import Any

from oslo_config import cfg

from guestagent.bus import topics
from guestagent.conf import listen, seal

OPTIONS = [
    cfg.StrOpt(
        'report_topic',
        default=topics.REPORT_TOPIC,
        help='The exchange on which guests report to the conductor, and the '
        "first part of the queue's name. Guests and conductor must "
        'agree on it.',
    ),
    cfg.BoolOpt(
        'debug',
        default=False,
        mutable=True,
        help='Log at the level DEBUG instead of INFO.',
    ),
    cfg.StrOpt(
        'log-file',
        metavar='PATH',
        help='Write the log to this file, which may be rotated by another '
        'program. Unset: standard error, as systemd expects.',
    ),
    cfg.StrOpt(
        'log_format',
        default='%(asctime)s %(levelname)s %(name)s %(message)s',
        help="How a line of the log is made, in the words of Python's logging module.",
    ),
    cfg.BoolOpt(
        'use_json',
        default=False,
        help='Log one JSON object a line, with time, level, logger, message and, '
        'where there are any, exception and instance; log_format does not count '
        'then.',
    ),
]

METRICS = [
    cfg.Opt(
        'listen',
        type=listen.Listen(),
        default='',
        sample_default='127.0.0.1:9101',
        help='Where /metrics (as Prometheus reads it) and /healthz are served by '
        'HTTP: an address and a port, or the path of a unix socket. Whoever '
        'reaches it may read. Empty: nowhere.',
    )
]

#: Switches of the command line only.
SWITCHES = [
    cfg.BoolOpt(
        'check-config',
        default=False,
        help='Look at the configuration, with the options of the enabled '
        'extensions, say what is wrong, and exit; nothing is connected to.',
    )
]


def register(conf: Any) -> None:
    """Register the options on ``conf``; on the command line too where useful."""
    switches = [option for option in OPTIONS if option.name in ('debug', 'log-file')]
    conf.register_cli_opts([*switches, *SWITCHES])
    conf.register_opts(OPTIONS)
    conf.register_opts(METRICS, group='metrics')
    seal.register(conf, seal.KEYS)
