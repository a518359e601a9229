# SPDX-License-Identifier: Apache-2.0
"""What the guest calls itself and its system, in full; and its time zone."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from guestagent_monitoring import files
from guestagent_monitoring.collectors import system

_ZONES = re.compile(r'zoneinfo/(?:posix/|right/)?(.+)$')
_NAME = re.compile(r'\w+(?:/[\w+-]+)+')


def fqdn(root: str = '/') -> str | None:
    """Return the hostname with its domain; ``None`` where only DNS could know it.

    It is the hostname itself if that has a domain, else what /etc/hosts calls it.
    Nothing is ever asked of the network.
    """
    name = system.hostname(root)
    if '.' in name:
        return name
    for line in (files.read_first(root, 'etc/hosts') or '').splitlines():
        _address, *names = line.partition('#')[0].split() or ['']
        if name in names:
            full = next((one for one in names if one.startswith(name + '.')), None)
            if full is not None:
                return full
    return None


def os_release(root: str = '/') -> dict[str, str] | None:
    """Return all that os-release(5) says, its names in lower case."""
    fields = system.read_os_release(root)
    return (
        None
        if fields is None
        else {name.lower(): value for name, value in fields.items()}
    )


def uname() -> dict[str, str]:
    """Return ``{system, node, release, version, machine}``, as uname(2)."""
    told = os.uname()
    return {
        'system': told.sysname,
        'node': told.nodename,
        'release': told.release,
        'version': told.version,
        'machine': told.machine,
    }


def time_zone(root: str = '/') -> dict[str, Any]:
    """Return ``{zone, abbreviation, offset, standard_offset, dst}``.

    ``zone`` is its whole name (America/Argentina/Buenos_Aires), ``None`` where
    nothing says it; the offsets are in seconds east of UTC, the first that of now,
    the second without daylight saving time, which ``dst`` tells to be in force.
    """
    time.tzset()  # it may have been changed since the start
    now = time.localtime()
    return {
        'zone': _zone(root),
        'abbreviation': now.tm_zone,
        'offset': now.tm_gmtoff,
        'standard_offset': -time.timezone,
        'dst': now.tm_isdst > 0,
    }


def _zone(root: str) -> str | None:
    told = os.environ.get('TZ', '').lstrip(':')
    if _NAME.fullmatch(told):
        return told
    try:
        target = os.readlink(os.path.join(root, 'etc/localtime'))
    except OSError:
        target = ''
    found = _ZONES.search(target)
    return found[1] if found else files.read_first(root, 'etc/timezone')
