# SPDX-License-Identifier: Apache-2.0
"""The options of the section [fsfreeze]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.FloatOpt(
        'limit',
        default=60,
        min=0.1,
        max=86400,
        mutable=True,
        help='After how many seconds file systems thaw by themselves, unless the '
        'caller says it.',
    ),
    cfg.FloatOpt(
        'limit_max',
        default=3600,
        min=0.1,
        max=86400,
        mutable=True,
        help='The most that a caller may ask for.',
    ),
    cfg.ListOpt(
        'only',
        default=[],
        mutable=True,
        help='Mount points of the only file systems that are frozen, thawed and '
        'trimmed. Unset: all that can be.',
    ),
    cfg.ListOpt(
        'never',
        default=[],
        mutable=True,
        help='Mount points of file systems that never are.',
    ),
    cfg.StrOpt(
        'hooks',
        default='/etc/guestagent/fsfreeze-hook.d',
        mutable=True,
        help='The folder of the programs that are run with the argument "freeze" '
        'before and with "thaw" after, by their names and in reverse.',
    ),
    cfg.FloatOpt(
        'hook_timeout',
        default=30,
        min=0.1,
        max=3600,
        mutable=True,
        help='How many seconds each of them has.',
    ),
    cfg.StrOpt(
        'folder',
        default='/run/guestagent-fsfreeze',
        help='Where it is kept what is frozen: a folder in memory (tmpfs), made if it '
        'is missing.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('fsfreeze', OPTIONS)]
