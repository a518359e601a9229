# SPDX-License-Identifier: Apache-2.0
"""Take this process out of the reach of what ends the agent, and keep it in memory."""

from __future__ import annotations

import contextlib
import ctypes
import os

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def leave() -> None:
    """Leave the control group, for the root of its hierarchies or one below it.

    Where that cannot be done this process stays where it is: then it ends with the
    agent, if all of its group is killed.
    """
    for group in _groups():
        _move(*group)


def stay() -> None:
    """Be the last to be killed for want of memory, and keep all of this in it.

    What may not be done is left: a frozen file system allows to read.
    """
    with contextlib.suppress(OSError):
        _write('/proc/self/oom_score_adj', '-1000')
    ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)


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
