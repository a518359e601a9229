# SPDX-License-Identifier: Apache-2.0
"""The options of the section [accounts]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'path',
        default='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        mutable=True,
        help='Where chpasswd and restorecon are looked for.',
    )
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('accounts', OPTIONS)]
