# SPDX-License-Identifier: Apache-2.0
"""What the guest is and has: facts of the extension ``monitoring``, in other words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guestagent_qga import errors, schema
from guestagent_qga import guest as guests

#: Members of GuestOSInfo that are fields of os-release(5).
_RELEASE = (
    'id',
    'name',
    'pretty-name',
    'version',
    'version-id',
    'variant',
    'variant-id',
)

_FAMILIES = {'inet': 'ipv4', 'inet6': 'ipv6'}

Arguments = dict[str, Any]
Fact = dict[str, Any]

_NO_PCI = {'domain': -1, 'bus': -1, 'slot': -1, 'function': -1}


def get_host_name(guest: guests.Guest, arguments: Arguments) -> dict[str, str]:
    """Return the host's name."""
    return {'host-name': _fact(guest, 'hostname')}


def get_osinfo(guest: guests.Guest, arguments: Arguments) -> dict[str, str]:
    """Return what system this is, by its kernel and by os-release(5)."""
    found = _facts(guest, 'uname', 'os_release')
    uname, release = found['uname'], found['os_release'] or {}
    return _given(
        {
            'kernel-release': uname['release'],
            'kernel-version': uname['version'],
            'machine': uname['machine'],
            **{name: release.get(name.replace('-', '_')) for name in _RELEASE},
        }
    )


def get_timezone(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Return the time zone's short name, and seconds east of UTC."""
    zone = _fact(guest, 'time_zone')
    return _given({'zone': zone['abbreviation'], 'offset': zone['offset']})


def get_users(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return who is logged in, and since when."""
    return [
        {'user': user['user'], 'login-time': float(user['login_time'])}
        for user in _fact(guest, 'users')
    ]


def get_load(guest: guests.Guest, arguments: Arguments) -> dict[str, float]:
    """Return the load of 1, 5 and 15 minutes."""
    return {name: float(value) for name, value in _fact(guest, 'load').items()}


def get_cpustats(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return what each CPU has spent its time with, in milliseconds."""
    return [
        {
            'type': 'linux',
            **{name.replace('_', ''): value for name, value in _given(cpu).items()},
        }
        for cpu in _fact(guest, 'cpu_stats')
    ]


def get_diskstats(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return what disks and partitions have done."""
    return [
        {
            'name': disk['name'],
            'major': disk['major'],
            'minor': disk['minor'],
            'stats': {
                _stat(name): value for name, value in _given(disk['stats']).items()
            },
        }
        for disk in _fact(guest, 'disk_stats')
    ]


def get_disks(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return disks and partitions, with what they lie on."""
    return [
        _given(
            {
                'name': disk['name'],
                'partition': disk['partition'],
                'dependencies': disk['dependencies'],
                'address': _address(disk['address']) if disk['address'] else None,
                'alias': disk['alias'],
            }
        )
        for disk in _fact(guest, 'disks')
    ]


def get_fsinfo(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return what is mounted, how full it is, and on which disks it lies."""
    return [
        _given(
            {
                'name': mount['name'],
                'mountpoint': mount['mount_point'],
                'type': mount['type'],
                'used-bytes': mount['used'],
                'total-bytes': mount['total'],
                'total-bytes-privileged': mount['total_privileged'],
                'disk': [_address(address) for address in mount['disks']],
            }
        )
        for mount in _fact(guest, 'mounts')
        # The others are on no device, as one in memory.
        if mount['name'] is not None
    ]


def network_get_interfaces(
    guest: guests.Guest, arguments: Arguments
) -> list[dict[str, Any]]:
    """Return network interfaces with their addresses and counters."""
    found = []
    for interface in _fact(guest, 'interfaces'):
        counters = _given(interface['counters'] or {})
        addresses = [
            {
                'ip-address-type': _FAMILIES[address['family']],
                'ip-address': address['address'],
                'prefix': address['prefix'],
            }
            for address in interface['addresses']
        ]
        found.append(
            _given(
                {
                    'name': interface['name'],
                    'hardware-address': interface['hardware_address'],
                    'ip-addresses': addresses or None,
                    'statistics': {
                        name.replace('_', '-'): value
                        for name, value in counters.items()
                    }
                    or None,
                }
            )
        )
    return found


def network_get_route(
    guest: guests.Guest, arguments: Arguments
) -> list[dict[str, Any]]:
    """Return the routes of the main tables."""
    return [_route(route) for route in _fact(guest, 'routes')]


def _route(route: Fact) -> dict[str, Any]:
    both = {name: route[name] for name in ('iface', 'destination', 'metric', 'version')}
    both |= {'flags': route['flags'], 'refcnt': route['refcnt'], 'use': route['use']}
    if route['version'] == 4:
        names = ('mask', 'gateway', 'mtu', 'window', 'irtt')
        return _given({**both, **{name: route[name] for name in names}})
    return _given(
        {
            **both,
            'desprefixlen': str(route['prefix_length']),
            'source': route['source'],
            'srcprefixlen': str(route['source_prefix_length']),
            'nexthop': route['next_hop'],
        }
    )


def _address(address: Fact) -> dict[str, Any]:
    buses = schema.types()['GuestDiskBusType'].values
    return _given(
        {
            'bus-type': address['bus_type']
            if address['bus_type'] in buses
            else 'unknown',
            'bus': address['bus'],
            'target': address['target'],
            'unit': address['unit'],
            'pci-controller': address['pci'] or _NO_PCI,
            'ccw-address': address['ccw'],
            'serial': address['udev_serial'],
            'dev': address['dev'],
        }
    )


def _stat(name: str) -> str:
    return 'ios-pgr' if name == 'ios_in_progress' else name.replace('_', '-')


def _fact(guest: guests.Guest, name: str) -> Any:
    return _facts(guest, name)[name]


def _facts(guest: guests.Guest, *names: str) -> dict[str, Any]:
    """Return facts as they are now.

    :raises guestagent_qga.errors.CommandError: one cannot be told.
    """
    found = guest.call('monitoring', 'facts', names=list(names))
    problems: Iterable[str] = found['problems'].values()
    for problem in problems:
        raise errors.CommandError(problem)
    facts: dict[str, Any] = found['facts']
    return facts


def _given(members: dict[str, Any]) -> dict[str, Any]:
    """Return what there is: one that nobody knows is left out."""
    return {name: value for name, value in members.items() if value is not None}
