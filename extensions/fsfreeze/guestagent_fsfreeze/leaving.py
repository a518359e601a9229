# SPDX-License-Identifier: Apache-2.0
"""Take this process out of the reach of what ends the agent, and keep it in memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time

_MCL_CURRENT, _MCL_FUTURE = 1, 2
#: Seconds that systemd has to take it over.
_SECONDS = 10


def leave(name: str) -> None:
    """Leave the control group, into a unit of its own where systemd runs.

    Where that cannot be done this process stays where it is: then it ends with the
    agent, if all of its group is killed.

    :param name: of the unit.
    """
    before = _groups()
    if os.path.isdir('/run/systemd/system'):
        _ask_systemd(name)
    if _groups() == before:
        for group in before:
            _move(*group)
    with contextlib.suppress(OSError):
        _write('/proc/self/oom_score_adj', '-1000')


def lock_memory() -> None:
    """Keep all that this process needs in memory: no page is read any more."""
    # It may not be allowed; then pages are read, which a frozen file system allows.
    ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)


def _ask_systemd(name: str) -> None:
    """Have systemd put this process into a scope, as systemd-run would."""
    words = [
        'busctl', '--quiet', 'call', 'org.freedesktop.systemd1',
        '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager',
        'StartTransientUnit', 'ssa(sv)a(sa(sv))', f'{name}.scope', 'fail',
        '3', 'PIDs', 'au', '1', str(os.getpid()),
        'Description', 's', 'Thaws the file systems of this guest',
        'CollectMode', 's', 'inactive-or-failed', '0',
    ]  # fmt: skip
    before = _groups()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
        # It says yes first, and does it then.
        until = time.monotonic() + _SECONDS
        while _groups() == before and time.monotonic() < until:
            time.sleep(0.01)


def _groups() -> list[tuple[str, str]]:
    """Return (controllers, path) for each hierarchy in which this is in a group."""
    found = []
    with open('/proc/self/cgroup', encoding='utf-8') as file:
        for line in file:
            _, controllers, path = line.rstrip('\n').split(':', 2)
            if path != '/':
                found.append((controllers, path))
    return found


def _move(controllers: str, path: str) -> None:
    """Go to the root of a hierarchy, or to a group of its own there."""
    folder = _folder(controllers)
    if not folder:
        return
    for place in (folder, os.path.join(folder, 'guestagent-thaw')):
        with contextlib.suppress(OSError):
            os.makedirs(place, exist_ok=True)
            _write(os.path.join(place, 'cgroup.procs'), str(os.getpid()))
            return


def _folder(controllers: str) -> str:
    """Return where a hierarchy is mounted; ``''``: nowhere."""
    with open('/proc/self/mountinfo', encoding='utf-8', errors='replace') as file:
        for line in file:
            left, _, right = line.partition(' - ')
            kind, _, options = right.rstrip('\n').split(' ', 2)
            wanted = 'cgroup' if controllers else 'cgroup2'
            if kind == wanted and set(controllers.split(',')) - {''} <= set(
                options.split(',')
            ):
                return left.split(' ')[4]
    return ''


def _write(path: str, text: str) -> None:
    with open(path, 'w', encoding='ascii') as file:
        file.write(text)
