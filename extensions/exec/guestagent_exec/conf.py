# SPDX-License-Identifier: Apache-2.0
"""The options of the section [exec]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'path',
        default='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        mutable=True,
        help='The PATH of commands, in which programs are also looked for, '
        'unless the caller sets another.',
    ),
    cfg.FloatOpt(
        'timeout_max',
        default=86400,
        min=1,
        max=30 * 86400,
        mutable=True,
        help='The longest time limit that a caller may ask for, in seconds.',
    ),
    cfg.IntOpt(
        'output_limit_max',
        default=4 * 1024 * 1024,
        min=0,
        max=64 * 1024 * 1024,
        mutable=True,
        help='The most that a caller may have kept of each of the two outputs, '
        'in bytes. The result must also fit [dispatcher] '
        'max_result_size.',
    ),
    cfg.FloatOpt(
        'kill_grace',
        default=2,
        min=0,
        max=60,
        mutable=True,
        help='How many seconds lie between SIGTERM and SIGKILL when a '
        'command must end. When the agent stops they are cut to about '
        'three.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('exec', OPTIONS)]
