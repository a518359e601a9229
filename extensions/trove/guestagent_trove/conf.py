# SPDX-License-Identifier: Apache-2.0
"""The options of the section [trove]; Trove's own files set most of them."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'guest_id',
        default='',
        help="The instance's id in Trove; instance_id must be the same.",
    ),
    cfg.StrOpt(
        'instance_rpc_encr_key',
        default='',
        secret=True,
        help="The instance's key. With one, only what is sealed with it is taken, and "
        "counts as the caller 'trove'.",
    ),
    cfg.StrOpt(
        'datastore_manager',
        default='',
        help='What Trove calls this kind of database: mysql, mariadb, postgresql.',
    ),
    cfg.StrOpt('datastore_version', default='', help='Its version, as Trove names it.'),
    cfg.StrOpt(
        'replication_strategy',
        default='',
        help='What a replica must also say that it uses.',
    ),
    cfg.StrOpt(
        'ssl_mode',
        default='',
        help='basic, enforced or mtls, where the control plane wants TLS.',
    ),
    cfg.StrOpt(
        'conductor_queue',
        default='trove-conductor',
        help="The topic of Trove's conductor.",
    ),
    cfg.StrOpt(
        'state_folder',
        default='$state_dir/trove',
        help='Where it is kept how far the instance is: its status, modules, and what '
        'was begun.',
    ),
    cfg.FloatOpt(
        'heartbeat_interval',
        default=25,
        min=0.2,
        max=27,
        help='Seconds between two heartbeats, give or take a tenth. Trove calls an '
        'instance ERROR after 90 s without one.',
    ),
    cfg.StrOpt(
        'log_file',
        default='',
        help="The agent's own log, which Trove shows as the log 'guest'.",
    ),
    cfg.StrOpt(
        'storage_strategy',
        default='swift',
        help='Where backups go when Trove does not say, and logs.',
    ),
    cfg.StrOpt('swift_service_type', default='object-store', help='In the catalog.'),
    cfg.StrOpt('swift_endpoint_type', default='publicURL', help='In the catalog.'),
    cfg.StrOpt('os_region_name', default='', help='In the catalog; empty: any.'),
    cfg.ListOpt(
        'guest_log_exposed_logs',
        default=['all'],
        help='The logs that Trove may show; all: every one.',
    ),
    cfg.StrOpt(
        'eth1_config',
        default='/etc/trove/eth1.json',
        help="What Trove says of the user's network, with network_isolation.",
    ),
    cfg.BoolOpt(
        'network_isolation',
        default=False,
        help='Replicas reach their source by the address in eth1_config.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('trove', OPTIONS)]
