# SPDX-License-Identifier: Apache-2.0
"""The options of an extension that runs in a process of its own.

They stand in the extension's own section, beside its own options.
"""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.BoolOpt(
        'isolate',
        default=False,
        help='Whether this extension runs in a process of its own, which is started '
        'when it is first used.',
    ),
    cfg.StrOpt(
        'isolate_user',
        default='',
        help='The user that this process runs as, by name or number; the agent must '
        "be started as root. Unset: the agent's own.",
    ),
    cfg.FloatOpt(
        'isolate_idle',
        default=300,
        min=0,
        help='After how many idle seconds that process is stopped, so that its memory '
        'goes back. 0: never; it is started with the agent, and again when it ends.',
    ),
    cfg.IntOpt(
        'isolate_memory',
        default=512,
        min=0,
        help='How many MiB of memory it may take. 0: no limit.',
    ),
    cfg.IntOpt(
        'isolate_cpu',
        default=100,
        min=0,
        help='How much of the processors it may take, in percent of one, where the '
        'agent may make cgroups. 0: no limit.',
    ),
    cfg.IntOpt(
        'isolate_cpu_time',
        default=3600,
        min=0,
        help='After how many seconds of processor time it is killed, as something '
        'that has run away. 0: never.',
    ),
    cfg.IntOpt(
        'isolate_files', default=1024, min=16, help='How many files it may have open.'
    ),
]

#: Only in the section of an extension that no installed package provides.
COMMAND = cfg.StrOpt(
    'command',
    help='The program that is this extension, with its arguments, quoted as in a '
    'shell. It speaks the protocol of doc/stdio.rst.',
)


def register(conf: Any, section: str, installed: bool) -> None:
    """Register the options of an extension.

    :param installed: whether a package provides it, so that it needs no command.
    """
    conf.register_opts(OPTIONS, group=section)
    if not installed:
        conf.register_opt(COMMAND, group=section)


def is_apart(conf: Any, section: str, installed: bool) -> bool:
    """Whether an extension, whose options are registered, has a process of its own."""
    found = conf[section]
    return bool(found.isolate if installed else found.command)
