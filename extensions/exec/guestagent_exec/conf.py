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
        help='The most that a caller of exec.run may have kept of each of the two '
        'outputs, in bytes. The result must also fit [dispatcher] max_result_size.',
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
    cfg.IntOpt(
        'max_running',
        default=128,
        min=0,
        max=10000,
        mutable=True,
        help='How many programs that exec.spawn started may run at once.',
    ),
    cfg.IntOpt(
        'max_retained',
        default=128,
        min=0,
        max=10000,
        mutable=True,
        help='Of how many of them the end and the outputs are kept; beyond that the '
        'oldest is forgotten.',
    ),
    cfg.FloatOpt(
        'retain',
        default=600,
        min=0.1,
        max=86400,
        mutable=True,
        help='For how many seconds these are kept, unless the caller says otherwise.',
    ),
    cfg.FloatOpt(
        'retain_max',
        default=86400,
        min=0.1,
        max=30 * 86400,
        mutable=True,
        help='The most seconds that a caller may ask for.',
    ),
    cfg.IntOpt(
        'kept_limit_max',
        default=16 * 1024 * 1024,
        min=0,
        max=256 * 1024 * 1024,
        mutable=True,
        help='The most that a caller of exec.spawn may have kept of each of the two '
        'outputs, in bytes.',
    ),
    cfg.IntOpt(
        'kept_total',
        default=64 * 1024 * 1024,
        min=0,
        max=4096 * 1024 * 1024,
        help='How many bytes of the outputs of all of them are kept at most. Beyond '
        'that the outputs are read, passed to those who read along, and dropped.',
    ),
    cfg.IntOpt(
        'max_waiting',
        default=4,
        min=1,
        max=256,
        mutable=True,
        help='How many callers may wait at once for output or the end of a program; '
        'the others are answered with what there is. Each takes one of [dispatcher] '
        'workers.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('exec', OPTIONS)]
