# SPDX-License-Identifier: Apache-2.0
"""The services that run and the units that have failed, as systemd's own tool says."""

from __future__ import annotations

import os

from guestagent_monitoring import programs

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


def services(root: str = '/') -> dict[str, list[str]] | None:
    """Return ``{running, failed}``: the names of services, and of units of any kind.

    It is ``None`` in a guest without systemd.

    :raises OSError: systemd does not tell.
    """
    if not os.path.isdir(os.path.join(root, 'run/systemd/system')):
        return None
    if programs.find(_COMMAND[0]) is None:
        return None
    running, failed = [], []
    for line in programs.ask(_COMMAND, _SECONDS).splitlines():
        words = line.split(None, 4)
        if len(words) < 4:
            continue
        unit, _loaded, active, sub = words[:4]
        if active == 'failed':
            failed.append(unit)
        elif sub == 'running' and unit.endswith('.service'):
            running.append(unit.removesuffix('.service'))
    return {'running': sorted(running), 'failed': sorted(failed)}
