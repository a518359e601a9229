# SPDX-License-Identifier: Apache-2.0
"""What the kernel counts since the start: of processors and of disks; and the load."""

from __future__ import annotations

import os
from typing import Any

from guestagent_monitoring import files

_CPU_FIELDS = (
    'user',
    'nice',
    'system',
    'idle',
    'iowait',
    'irq',
    'softirq',
    'steal',
    'guest',
    'guest_nice',
)
#: In the order of Documentation/admin-guide/iostats; older kernels tell fewer.
_DISK_FIELDS = (
    'read_ios',
    'read_merges',
    'read_sectors',
    'read_ticks',
    'write_ios',
    'write_merges',
    'write_sectors',
    'write_ticks',
    'ios_in_progress',
    'total_ticks',
    'weight_ticks',
    'discard_ios',
    'discard_merges',
    'discard_sectors',
    'discard_ticks',
    'flush_ios',
    'flush_ticks',
)


def cpu_stats(root: str = '/') -> list[dict[str, int]]:
    """Return, for each processor that is online, what it has spent its time on.

    Each is ``{cpu, user, nice, system, idle, iowait, irq, softirq, steal, guest,
    guest_nice}``, all but the first in milliseconds.
    """
    tick = os.sysconf('SC_CLK_TCK')
    found = []
    for line in files.read(root, 'proc/stat').splitlines():
        name, *words = line.split()
        if name.startswith('cpu') and name != 'cpu':
            times = (int(word) * 1000 // tick for word in words)
            found.append(
                {'cpu': int(name[3:]), **dict(zip(_CPU_FIELDS, times, strict=False))}
            )
    return found


def disk_stats(root: str = '/') -> list[dict[str, Any]]:
    """Return what was read and written on each disk and partition.

    Each is ``{name, major, minor, stats}``, with the stats ``read_ios,
    read_merges, read_sectors, read_ticks``, the same of ``write`` and ``discard``,
    ``flush_ios, flush_ticks, ios_in_progress, total_ticks, weight_ticks``, as far as
    the kernel counts them.  A sector is 512 bytes, a tick a millisecond.
    """
    found = []
    for line in files.read(root, 'proc/diskstats').splitlines():
        major, minor, name, *words = line.split()
        figures = (int(word) for word in words)
        found.append(
            {
                'name': name,
                'major': int(major),
                'minor': int(minor),
                'stats': dict(zip(_DISK_FIELDS, figures, strict=False)),
            }
        )
    return found


def load(root: str = '/') -> dict[str, float]:
    """Return the load average of 1, 5 and 15 minutes: ``{load1m, load5m, load15m}``."""
    words = files.read(root, 'proc/loadavg').split()
    return dict(
        zip(('load1m', 'load5m', 'load15m'), map(float, words[:3]), strict=True)
    )
