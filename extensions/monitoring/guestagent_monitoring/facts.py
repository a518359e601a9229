# SPDX-License-Identifier: Apache-2.0
"""Which facts there are, and who tells them: a collector is imported when it is asked.

So an agent that is idle, or that serves only some of them, pays for no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

#: The facts that are reported, by the option that says how often they are looked at;
#: for each the module in ``collectors`` and its function, or its class.
REPORTED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    'period': {
        'hostname': ('system', 'hostname'),
        'fqdn': ('naming', 'fqdn'),
        'os': ('system', 'operating_system'),
        'kernel': ('system', 'kernel'),
        'architecture': ('system', 'architecture'),
        'cpus': ('system', 'cpus'),
        'boot_time': ('system', 'boot_time'),
        'virtualization': ('machine', 'virtualization'),
        'time_zone': ('naming', 'time_zone'),
        'memory': ('memory', 'memory'),
        'swap': ('memory', 'swap'),
        'nics': ('nics', 'nics'),
        'filesystems': ('filesystems', 'filesystems'),
        'disk_serials': ('disks', 'disk_serials'),
    },
    'load_period': {'load': ('counters', 'load'), 'cpu_usage': ('rates', 'CpuUsage')},
    'rates_period': {
        'memory_rates': ('rates', 'MemoryRates'),
        'traffic': ('rates', 'Traffic'),
    },
    'users_period': {'users': ('users', 'users'), 'sessions': ('users', 'sessions')},
    'services_period': {'services': ('services', 'services')},
    'listeners_period': {'listeners': ('listeners', 'Listeners')},
    'containers_period': {'containers': ('containers', 'containers')},
    'applications_period': {
        'application_digests': ('applications', 'application_digests')
    },
    'reboot_period': {'reboot_required': ('machine', 'reboot_required')},
    'updates_period': {'updates': ('updates', 'Updates')},
}
#: What moves between two looks; the first tells nothing.
RATES = ('cpu_usage', 'memory_rates', 'traffic')
#: What takes long to tell, so that whoever asks for everything does not ask for it.
LONG = frozenset(('updates',))
#: These are told only to those who ask for them by name.
ON_DEMAND = {
    'applications': ('applications', 'applications'),
    'cpu_stats': ('counters', 'cpu_stats'),
    'disk_stats': ('counters', 'disk_stats'),
    'disks': ('disks', 'disks'),
    'interfaces': ('nics', 'interfaces'),
    'memory_counters': ('rates', 'memory_counters'),
    'memory_details': ('memory', 'details'),
    'mounts': ('mounts', 'mounts'),
    'os_release': ('naming', 'os_release'),
    'routes': ('routes', 'routes'),
    'uname': ('naming', 'uname'),
}
#: The arguments of collectors that are options.
_ARGUMENTS = {
    'nics': {'ignored': 'ignored_interfaces'},
    'traffic': {'ignored': 'ignored_interfaces'},
    'containers': {'sockets': 'container_sockets'},
    'filesystems': {
        'ignored_mounts': 'ignored_mounts',
        'ignored_types': 'ignored_filesystem_types',
    },
}


class Collector:
    """Tells the present value of a fact.

    :param module: of ``guestagent_monitoring.collectors``.
    :param name: of its function, or of a class whose one object tells.
    :param arguments: the options that it takes, by the names of its arguments.
    """

    def __init__(
        self, conf: Any, module: str, name: str, arguments: Mapping[str, str]
    ) -> None:
        self._conf = conf
        self._module = module
        self._name = name
        self._arguments = arguments
        self._tell: Callable[..., Any] | None = None

    def __call__(self) -> Any:
        """Return the value; ``None``: the guest has no such thing."""
        if self._tell is None:
            module = importlib.import_module(
                f'guestagent_monitoring.collectors.{self._module}'
            )
            found = getattr(module, self._name)
            self._tell = found() if isinstance(found, type) else found
        return self._tell(
            **{
                argument: getattr(self._conf, option)
                for argument, option in self._arguments.items()
            }
        )


def collectors(conf: Any) -> dict[str, Callable[[], Any]]:
    """Return for each fact, by name, what tells its present value."""
    found: dict[str, Callable[[], Any]] = {}
    for group in (*REPORTED.values(), ON_DEMAND):
        for name, (module, attribute) in group.items():
            found[name] = Collector(conf, module, attribute, _ARGUMENTS.get(name, {}))
    return found


def reported(conf: Any) -> list[str]:
    """Return the facts that are reported: those with a period, that are not named."""
    return [
        name
        for option, group in REPORTED.items()
        if getattr(conf, option)
        for name in group
        if name not in conf.unreported_facts
    ]
