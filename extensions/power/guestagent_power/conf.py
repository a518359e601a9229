# SPDX-License-Identifier: Apache-2.0
"""The options of the section [power]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'path',
        default='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        mutable=True,
        help='Where busctl, poweroff and the other programs are looked for.',
    ),
    cfg.FloatOpt(
        'moment',
        default=1,
        min=0,
        max=60,
        mutable=True,
        help='How many seconds the guest runs on at least after a shutdown or a '
        'suspend was asked for, so that the answer can leave.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('power', OPTIONS)]
