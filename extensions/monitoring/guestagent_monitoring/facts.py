# SPDX-License-Identifier: Apache-2.0
"""Which facts there are, and who tells them: a collector is imported when it is asked.

So an agent that is idle, or that serves only some of them, pays for no other.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

#: For each fact the module in ``collectors`` and its function.  These are reported.
REPORTED = {
    'hostname': ('system', 'hostname'),
    'os': ('system', 'operating_system'),
    'kernel': ('system', 'kernel'),
    'architecture': ('system', 'architecture'),
    'cpus': ('system', 'cpus'),
    'boot_time': ('system', 'boot_time'),
    'memory': ('memory', 'memory'),
    'swap': ('memory', 'swap'),
    'nics': ('nics', 'nics'),
    'filesystems': ('filesystems', 'filesystems'),
}
#: These are told only to those who ask for them by name.
ON_DEMAND = {
    'cpu_stats': ('counters', 'cpu_stats'),
    'disk_serials': ('disks', 'disk_serials'),
    'disk_stats': ('counters', 'disk_stats'),
    'disks': ('disks', 'disks'),
    'fqdn': ('naming', 'fqdn'),
    'interfaces': ('nics', 'interfaces'),
    'load': ('counters', 'load'),
    'mounts': ('mounts', 'mounts'),
    'os_release': ('naming', 'os_release'),
    'routes': ('routes', 'routes'),
    'sessions': ('users', 'sessions'),
    'time_zone': ('naming', 'time_zone'),
    'uname': ('naming', 'uname'),
    'users': ('users', 'users'),
}

Collector = Callable[[], Any]


def collectors(conf: Any) -> dict[str, Collector]:
    """Return for each fact, by name, what tells its present value."""
    options: dict[str, dict[str, Any]] = {
        'nics': {'ignored': conf.ignored_interfaces},
        'filesystems': {
            'ignored_mounts': conf.ignored_mounts,
            'ignored_types': conf.ignored_filesystem_types,
        },
    }
    return {
        name: functools.partial(_tell, *where, **options.get(name, {}))
        for name, where in (REPORTED | ON_DEMAND).items()
    }


def _tell(module: str, function: str, **options: Any) -> Any:
    collector = importlib.import_module(f'guestagent_monitoring.collectors.{module}')
    return getattr(collector, function)(**options)
