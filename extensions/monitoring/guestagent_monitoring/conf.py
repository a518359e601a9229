# SPDX-License-Identifier: Apache-2.0
"""The options of the section [monitoring]."""

from typing import Any

from oslo_config import cfg


def _period(name: str, default: float, what: str) -> cfg.FloatOpt:
    return cfg.FloatOpt(
        name,
        default=default,
        min=0,
        max=86400,
        mutable=True,
        help=f'How many seconds lie between two looks at {what}. 0: never, and '
        'nothing is spent on it.',
    )


OPTIONS = [
    cfg.FloatOpt(
        'period',
        default=60,
        min=1,
        max=86400,
        mutable=True,
        help='How many seconds lie between two looks at what has no period of '
        'its own. Only what has changed is sent.',
    ),
    _period('load_period', 60, 'the load and the use of processors'),
    _period('rates_period', 60, "memory's and the network's rates"),
    _period('users_period', 120, 'users and sessions'),
    _period('services_period', 120, "systemd's services"),
    _period('listeners_period', 120, 'the ports that something listens on'),
    _period('containers_period', 120, 'the containers of Docker and Podman'),
    _period('applications_period', 600, 'what is installed'),
    _period('reboot_period', 600, 'whether the guest should be started anew'),
    _period('updates_period', 3600, 'the updates that wait'),
    _period('statistics_period', 60, "which of the administrator's statistics are due"),
    cfg.StrOpt(
        'statistics_dir',
        default='/etc/guestagent/statistics.d',
        help="The folder of the administrator's own statistics: files of root, with "
        'names that end in .conf, that nobody else may write.',
    ),
    cfg.StrOpt(
        'collectd_socket',
        sample_default='/var/run/collectd-unixsock',
        help="The socket of collectd's plugin unixsock, whose values are reported "
        'beside these statistics. Unset: collectd is not asked.',
    ),
    cfg.ListOpt(
        'collectd_values',
        default=['*'],
        help="Which of collectd's values are reported, as plugin-instance/"
        'type-instance (load/load, df-root/df_complex-free); * and ? stand for any '
        'characters, / too, and for one. At most 100 are.',
    ),
    _period('collectd_period', 60, "collectd's values"),
    cfg.ListOpt(
        'container_sockets',
        default=['/run/docker.sock', '/run/podman/podman.sock'],
        help='Where Docker and Podman are asked for their containers.',
    ),
    cfg.ListOpt(
        'unreported_facts',
        default=[],
        help='Facts that are not reported, by name; they are still told to those '
        'who ask for them.',
    ),
    cfg.BoolOpt(
        'watch_changes',
        default=True,
        help='Whether to look at network interfaces, mounts, disks, sessions and '
        'the hostname as soon as the kernel announces a change of them.',
    ),
    cfg.FloatOpt(
        'change_delay',
        default=1,
        min=0.1,
        max=3600,
        help='How many seconds to wait after such a notice, so that what '
        'changes together is reported together; and so the least time '
        'between two looks.',
    ),
    cfg.ListOpt(
        'ignored_interfaces',
        default=['lo', 'veth*'],
        help='Network interfaces that are not reported, by name; * and ? '
        'stand for any characters and for one.',
    ),
    cfg.ListOpt(
        'ignored_mounts',
        default=[
            '/var/lib/docker/*',
            '/var/lib/kubelet/*',
            '/var/lib/containers/*',
            '/snap/*',
        ],
        help='Mount points whose filesystems are not reported; * stands for '
        'any characters, / too.',
    ),
    cfg.ListOpt(
        'ignored_filesystem_types',
        default=[
            'tmpfs',
            'squashfs',
            'iso9660',
            'fuse.lxcfs',
            'fuse.gvfsd-fuse',
            'fuse.portal',
            'fuse.snapfuse',
        ],
        help='Types of filesystems that are not reported, besides those that '
        'store nothing (proc, sysfs and the like).',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('monitoring', OPTIONS)]
