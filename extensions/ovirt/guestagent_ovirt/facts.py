# SPDX-License-Identifier: Apache-2.0
"""Make the original's messages of the facts of ``monitoring``; rules without I/O.

Units are the original's: KiB and MiB of memory, bytes of disks, minutes of time zones.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from guestagent_ovirt import lines

Facts = Mapping[str, Any]
KIB = 1024


class Options(Protocol):
    """What the section ``[ovirt]`` says; names and units are the original's."""

    hook_timeout: float
    ignore_zero_size_fs: bool
    ignored_fs: Sequence[str]
    ignored_nics: Sequence[str]


class Rates:
    """Makes rates, for a second, of what counts from the guest's start."""

    def __init__(self) -> None:
        self._before: tuple[float, Facts] | None = None

    def since(self, counters: Facts | None, now: float) -> dict[str, int]:
        """Return the rates since the last time; nothing the first time."""
        if counters is None:
            return {}
        before, self._before = self._before, (now, counters)
        if before is None or now <= before[0]:
            return {}
        return {
            name: max(
                0, round((count - before[1].get(name, count)) / (now - before[0]))
            )
            for name, count in counters.items()
        }


def heartbeat(facts: Facts, rates: Mapping[str, int], version: int) -> lines.Message:
    """Return ``heartbeat``; ``free-ram`` is text, in MiB, as the original has it."""
    memory = facts['memory_details']
    free = memory['free'] + memory['buffers'] + memory['cached']
    stat = {
        'mem_total': memory['total'],
        'mem_unused': memory['free'],
        'mem_free': free,
        'mem_buffers': memory['buffers'],
        'mem_cached': memory['cached'],
        'swap_usage': memory['swap_total'] - memory['swap_free'],
        'swap_total': memory['swap_total'],
    }
    return lines.Message(
        'heartbeat',
        {
            'free-ram': str(free // KIB // KIB),
            'memory-stat': {
                **{name: value // KIB for name, value in stat.items()},
                'swap_in': rates.get('swap_in', 0),
                'swap_out': rates.get('swap_out', 0),
                'pageflt': rates.get('faults', 0),
                'majflt': rates.get('major_faults', 0),
            },
            'apiVersion': version,
        },
    )


def host_name(facts: Facts, options: Options) -> lines.Message:
    """Return ``host-name``: with the domain, if the guest knows it."""
    return lines.Message('host-name', {'name': _full_name(facts)})


def fqdn(facts: Facts, options: Options) -> lines.Message:
    """Return ``fqdn``."""
    return lines.Message('fqdn', {'fqdn': _full_name(facts)})


def _full_name(facts: Facts) -> str:
    return str(facts.get('fqdn') or facts['hostname'])


def os_version(facts: Facts, options: Options) -> lines.Message:
    """Return ``os-version``, which on Linux is the kernel's."""
    return lines.Message('os-version', {'version': facts['kernel']})


def os_info(facts: Facts, options: Options) -> lines.Message:
    """Return ``os-info``."""
    release = facts['os_release']
    return lines.Message(
        'os-info',
        {
            'version': release.get('version_id', ''),
            'distribution': release.get('name', ''),
            'codename': release.get('version_codename', ''),
            'arch': facts['architecture'],
            'type': 'linux',
            'kernel': facts['kernel'],
        },
    )


def time_zone(facts: Facts, options: Options) -> lines.Message:
    """Return ``timezone``: minutes east of UTC, without daylight saving time."""
    zone = facts['time_zone']
    return lines.Message(
        'timezone',
        {
            'zone': zone['zone'] or zone['abbreviation'],
            'offset': zone['standard_offset'] // 60,
        },
    )


def network_interfaces(facts: Facts, options: Options) -> lines.Message:
    """Return ``network-interfaces``: those that are up, but the loopback's."""
    ignored = options.ignored_nics
    found = [
        {
            'name': nic['name'],
            'hw': nic['mac'] or '',
            'inet': _addresses(nic, 'inet'),
            'inet6': _addresses(nic, 'inet6'),
        }
        for nic in facts['interfaces']
        if nic['state'] != 'down'
        and nic['name'] != 'lo'
        and not any(fnmatch.fnmatchcase(nic['name'], each) for each in ignored)
    ]
    return lines.Message('network-interfaces', {'interfaces': found})


def _addresses(nic: Mapping[str, Any], family: str) -> list[str]:
    return [each['address'] for each in nic['addresses'] if each['family'] == family]


def disks_usage(facts: Facts, options: Options) -> lines.Message:
    """Return ``disks-usage``: bytes, and which serial number is which device."""
    disks = [
        {
            'path': each['mount_point'],
            'fs': each['type'],
            'total': each['total'],
            'used': each['used'],
        }
        for each in facts['filesystems']
        if each['type'] not in options.ignored_fs
        and each['total'] is not None
        and (each['total'] or not options.ignore_zero_size_fs)
    ]
    mapping = {serial: {'name': path} for serial, path in facts['disk_serials'].items()}
    return lines.Message('disks-usage', {'disks': disks, 'mapping': mapping})


def number_of_cpus(facts: Facts, options: Options) -> lines.Message:
    """Return ``number-of-cpus``; -1: nobody knows."""
    return lines.Message('number-of-cpus', {'count': facts.get('cpus') or -1})


def active_user(facts: Facts, options: Options) -> lines.Message:
    """Return ``active-user``: who has the seat, else who is there, else ``None``."""
    sessions = facts.get('sessions') or ()
    seated = [each for each in sessions if each['seat'] and each['state'] == 'active']
    name = next((each['user'] for each in [*seated, *sessions]), 'None')
    return lines.Message('active-user', {'name': name})


def applications(facts: Facts, options: Options) -> lines.Message:
    """Return ``applications``: each as its name and version, joined by ``-``."""
    found = [
        f'{name}-{version}'
        for installed in facts['applications'].values()
        for name, version in installed.items()
    ]
    return lines.Message('applications', {'applications': sorted(found)})


def containers(facts: Facts, options: Options) -> lines.Message:
    """Return ``containers``."""
    found = [
        {
            'id': each['id'],
            'names': each['names'],
            'image': each['image'],
            'command': each['program'],
            'status': each['state'],
        }
        for each in facts['containers'] or ()
    ]
    return lines.Message('containers', {'list': found})


class Made(NamedTuple):
    """Which facts a message needs, and what makes it of them.

    :ivar make: raises LookupError where one of them is not there.
    """

    needs: Sequence[str]
    make: Callable[[Facts, Options], lines.Message]


MESSAGES: Mapping[str, Made] = {
    'active-user': Made(('sessions',), active_user),
    'applications': Made(('applications',), applications),
    'containers': Made(('containers',), containers),
    'disks-usage': Made(('filesystems', 'disk_serials'), disks_usage),
    'fqdn': Made(('hostname', 'fqdn'), fqdn),
    'host-name': Made(('hostname', 'fqdn'), host_name),
    'network-interfaces': Made(('interfaces',), network_interfaces),
    'number-of-cpus': Made(('cpus',), number_of_cpus),
    'os-info': Made(('os_release', 'architecture', 'kernel'), os_info),
    'os-version': Made(('kernel',), os_version),
    'timezone': Made(('time_zone',), time_zone),
}
