# SPDX-License-Identifier: Apache-2.0
"""The options of the section [datastore]."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from guestagent_datastore.backups import conf as backups

OPTIONS = [
    cfg.StrOpt(
        'engine',
        default='',
        help='The kind of server: mariadb, postgresql, redis, or that of another '
        'engine that is installed. Must be set.',
    ),
    cfg.StrOpt(
        'mount_point',
        default='',
        help='Where the data volume is mounted; without one, a folder. Default: '
        '/var/lib/<engine>.',
    ),
    cfg.StrOpt(
        'device_path',
        default='',
        help='The device of the data volume, for commands that name none.',
    ),
    cfg.StrOpt(
        'config_folder',
        default='',
        help="The folder of the server's configuration files, which the extension "
        'writes. Default: /etc/guestagent-<engine>.',
    ),
    cfg.StrOpt(
        'run_folder',
        default='',
        help="The folder of the server's unix socket. Default: "
        '/run/guestagent-<engine>.',
    ),
    cfg.StrOpt(
        'state_folder',
        default='/var/lib/guestagent-datastore',
        help='Where the extension keeps what it must know after a crash of the agent.',
    ),
    cfg.StrOpt(
        'log_folder',
        default='',
        help="The folder of the server's logs. Default: /var/log/guestagent-<engine>.",
    ),
    cfg.StrOpt(
        'server_user',
        default='',
        help='The account that the server runs as. Default: the one that its package '
        'makes; without root, the one of the agent.',
    ),
    cfg.PortOpt(
        'port',
        default=None,
        help='The TCP port; 0: only the unix socket. Default: the usual one.',
    ),
    cfg.StrOpt('listen', default='0.0.0.0', help='The address to listen on.'),
    cfg.StrOpt(
        'service',
        default='auto',
        choices=[
            ('auto', 'systemd where it runs the machine, else own'),
            ('systemd', 'a unit that the extension writes'),
            ('own', 'the extension starts the server, which outlives the agent'),
        ],
        help='Who runs the server.',
    ),
    cfg.IntOpt(
        'state_change_wait_time',
        default=180,
        min=1,
        help='Seconds that the server gets to start, and to stop.',
    ),
    cfg.FloatOpt(
        'period',
        default=10,
        min=0,
        help='Seconds between two looks at the server; its end is noticed at once. '
        '0: none.',
    ),
    *backups.OPTIONS,
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('datastore', OPTIONS)]
