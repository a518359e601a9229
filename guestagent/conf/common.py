# SPDX-License-Identifier: Apache-2.0
"""Options that the agent and the conductor share: reports and logging."""

from typing import Any

from oslo_config import cfg

from guestagent.bus import topics

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
]


def register(conf: Any) -> None:
    """Register the options on ``conf``; on the command line too where useful."""
    conf.register_cli_opts(
        [option for option in OPTIONS if option.name in ('debug', 'log-file')]
    )
    conf.register_opts(OPTIONS)
