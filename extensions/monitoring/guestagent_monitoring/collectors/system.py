# SPDX-License-Identifier: Apache-2.0
"""What runs: hostname, operating system, kernel, processors."""

from __future__ import annotations

import os
import re

from guestagent_monitoring import files

_ESCAPED = re.compile(r'\\(["\'$`\\])')


def hostname(root: str = '/') -> str:
    """Return the name that the guest has given itself."""
    return files.read(root, 'proc/sys/kernel/hostname').strip()


def operating_system(root: str = '/') -> dict[str, str | None] | None:
    """Return ``{id, name, version, pretty}`` of os-release(5).

    ``version`` is ``None`` for a rolling distribution; the value is ``None`` in a
    guest without the file.
    """
    fields = read_os_release(root)
    if fields is None:
        return None
    name = fields.get('NAME', 'Linux')
    return {
        'id': fields.get('ID', 'linux'),
        'name': name,
        'version': fields.get('VERSION_ID'),
        'pretty': fields.get('PRETTY_NAME', name),
    }


def read_os_release(root: str = '/') -> dict[str, str] | None:
    """Return the fields of os-release(5); ``None`` in a guest without the file."""
    for path in ('etc/os-release', 'usr/lib/os-release'):
        try:
            return _os_release(files.read(root, path))
        except FileNotFoundError:
            continue
    return None


def kernel(root: str = '/') -> str:
    """Return the release of the running kernel."""
    return files.read(root, 'proc/sys/kernel/osrelease').strip()


def architecture() -> str:
    """Return the machine's architecture, as ``uname -m``."""
    return os.uname().machine


def cpus() -> int:
    """Return how many processors are online."""
    return os.sysconf('SC_NPROCESSORS_ONLN')


def boot_time(root: str = '/') -> int:
    """Return when the guest was started, in UNIX seconds of its own clock."""
    for line in files.read(root, 'proc/stat').splitlines():
        if line.startswith('btime '):
            return int(line.split()[1])
    raise LookupError('/proc/stat has no line "btime"')


def _os_release(text: str) -> dict[str, str]:
    """Parse os-release(5): assignments of a shell, without its expansions."""
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition('=')
        if equals and not name.startswith('#'):
            if len(value) > 1 and value[0] == value[-1] and value[0] in '"\'':
                value = value[1:-1]
            fields[name] = _ESCAPED.sub(r'\1', value)
    return fields
