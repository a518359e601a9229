# SPDX-License-Identifier: Apache-2.0
"""The options of the section [seal]: keys, and what is done without them."""

from typing import Any

from oslo_config import cfg

SECTION = 'seal'

KEYS = [
    cfg.StrOpt(
        'key_file',
        default='',
        sample_default='/etc/guestagent/keys',
        help='The file with the keys (doc/sealing.rst), which only its owner may be '
        'able to read: this program, or root. It is read again on SIGHUP.',
    ),
    cfg.StrOpt(
        'key_command',
        default='',
        sample_default='systemd-creds decrypt /etc/guestagent/keys.cred -',
        help='In place of key_file: a command that prints what would stand there, as '
        'the client of a key store does. No shell sees it. It has 30 seconds.',
    ),
]

AGENT = [
    cfg.BoolOpt(
        'allow_plain',
        default=False,
        help='Without a key: whether commands that are not sealed may change the '
        'guest, and use the extensions exec and file. Whoever can write to the bus '
        'can then do so, under any name. With a key all plain requests are dropped '
        'unanswered, whatever stands here.',
    ),
    cfg.IntOpt(
        'max_age',
        default=86400,
        min=60,
        max=31536000,
        help='How many seconds at most may lie between the time at which a command '
        'was sealed and its expiry, which its sender chooses.',
    ),
    cfg.IntOpt(
        'clock_skew',
        default=300,
        min=1,
        max=86400,
        help='By how many seconds the clocks of callers and of this guest may differ '
        "until a command is refused. The refusal tells the guest's time, and this "
        "project's clients seal anew by it.",
    ),
]


def register(conf: Any, options: list[Any]) -> None:
    """Register the options of one program on ``conf``."""
    conf.register_opts(options, group=SECTION)
