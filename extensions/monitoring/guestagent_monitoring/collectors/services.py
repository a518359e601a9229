# SPDX-License-Identifier: Apache-2.0
"""The services that run and the units that have failed, as systemd's own tool says."""

from __future__ import annotations

import os

from guestagent_monitoring import files, programs

_COMMAND = (
    'systemctl',
    'list-units',
    '--all',
    '--full',
    '--plain',
    '--no-legend',
    '--no-pager',
    '--state=running,failed',
)
_SECONDS = 20
_GROUPS = ('sys/fs/cgroup/system.slice', 'sys/fs/cgroup/systemd/system.slice')


def services(root: str = '/') -> dict[str, list[str] | None] | None:
    """Return ``{running, failed}``: the names of services, and of units of any kind.

    It is ``None`` in a guest without systemd.  Without D-Bus systemd talks to root
    only; then the control groups tell what runs, and ``failed`` is ``None``.

    :raises OSError: systemd does not tell root.
    """
    if not os.path.isdir(os.path.join(root, 'run/systemd/system')):
        return None
    if programs.find(_COMMAND[0]) is None:
        return None
    try:
        said = programs.ask(_COMMAND, _SECONDS)
    except OSError:
        if os.geteuid() == 0:
            raise
        return {'running': _populated(root), 'failed': None}
    running, failed = [], []
    for line in said.splitlines():
        words = line.split(None, 4)
        if len(words) < 4:
            continue
        unit, _loaded, active, sub = words[:4]
        if active == 'failed':
            failed.append(unit)
        elif sub == 'running' and unit.endswith('.service'):
            running.append(unit.removesuffix('.service'))
    return {'running': sorted(running), 'failed': sorted(failed)}


def _populated(root: str) -> list[str]:
    """Return the services that have a process, by their control groups."""
    found = set()
    for start in _GROUPS:
        for folder, below, _files in os.walk(os.path.join(root, start)):
            for group in [name for name in below if name.endswith('.service')]:
                below.remove(group)
                path = os.path.join(folder, group)
                if _has_process(path):
                    found.add(group.removesuffix('.service'))
    return sorted(found)


def _has_process(group: str) -> bool:
    # Version 2 tells of the groups below it too; version 1 has no such file.
    events = files.read_first(group, 'cgroup.events')
    if events is not None:
        return 'populated 1' in events.splitlines()
    return files.read_first(group, 'cgroup.procs') is not None
