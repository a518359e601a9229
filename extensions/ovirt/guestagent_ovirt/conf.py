# SPDX-License-Identifier: Apache-2.0
"""The options of the section [ovirt]; names and defaults are the original's."""

from typing import Any

from oslo_config import cfg


def _rate(name: str, default: float, what: str) -> Any:
    return cfg.FloatOpt(
        name,
        default=default,
        min=0,
        help=f'How many seconds lie between two {what}. 0: never.',
    )


OPTIONS = [
    cfg.StrOpt(
        'device_prefix',
        default='/dev/virtio-ports/',
        help='The folder of the port, which is ovirt-guest-agent.0, or '
        'com.redhat.rhevm.vdsm where there is one of that name.',
    ),
    _rate('heart_beat_rate', 5, 'heartbeats'),
    _rate('report_user_rate', 10, 'looks at who is logged in'),
    _rate('report_num_cpu_rate', 60, 'reports of the number of processors'),
    _rate(
        'report_application_rate',
        120,
        'reports of applications, network interfaces, names, the kernel and containers',
    ),
    _rate('report_disk_usage', 300, 'reports of filesystems'),
    cfg.ListOpt(
        'ignored_fs',
        default=[
            'rootfs',
            'tmpfs',
            'autofs',
            'cgroup',
            'selinuxfs',
            'udev',
            'mqueue',
            'nfsd',
            'proc',
            'sysfs',
            'devtmpfs',
            'hugetlbfs',
            'rpc_pipefs',
            'devpts',
            'securityfs',
            'debugfs',
            'binfmt_misc',
            'fuse.gvfsd-fuse',
            'fuse.gvfs-fuse-daemon',
            'fusectl',
            'usbfs',
        ],
        help='The types of filesystems of which the host is not told.',
    ),
    cfg.BoolOpt(
        'ignore_zero_size_fs',
        default=True,
        help='Whether the host is not told of filesystems without a size.',
    ),
    cfg.ListOpt(
        'ignored_nics',
        default=['docker0', 'veth*', 'br-*', 'cni*'],
        help='The network interfaces of which the host is not told; * and ? stand for '
        'any characters, and any one.',
    ),
    cfg.StrOpt(
        'hooks',
        default='/etc/ovirt-guest-agent/hooks.d',
        help='The folder with the folders before_migration, after_migration, '
        'before_hibernation and after_hibernation, whose executables are run, by the '
        'extension exec, when the host announces these.',
    ),
    cfg.FloatOpt(
        'hook_timeout',
        default=8,
        min=0.1,
        help='After how many seconds a hook is killed. The host waits for all of them '
        'for 10 seconds.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('ovirt', OPTIONS)]
