# SPDX-License-Identifier: Apache-2.0
"""The processes of a session: a command and what it has started.

Each command leads a session and a process group of its own.  A program such as
``timeout``, or a shell with job control, moves what it starts into another group but
not into another session, so it is the session that is signalled.  A process that left
the session on purpose (a daemon, ``setsid``) is left alone.

As long as the leader is not reaped its number belongs to nobody else.
"""

from __future__ import annotations

import contextlib
import os


def members(leader: int) -> list[int]:
    """Return the processes of the session that still run; zombies do not."""
    return [process for process, _group in _running(leader)]


def kill(leader: int, number: int) -> None:
    """Send a signal to every process of the session.

    :param leader: the command's process; it must not have been reaped.
    """
    # The group at once, so that its members cannot start others meanwhile.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
    for process, group in _running(leader):
        if group != leader:
            # It has ended meanwhile, or belongs to a user that we may not signal.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)


def _running(leader: int) -> list[tuple[int, int]]:
    """Return (process, process group) of the members that are no zombies."""
    found = []
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/stat', 'rb') as file:
                # The name in brackets may hold anything, brackets too.
                fields = file.read().rpartition(b')')[2].split()
        except OSError:
            continue  # it ended meanwhile
        state, group, session = fields[0], int(fields[2]), int(fields[3])
        if session == leader and state not in (b'Z', b'X'):
            found.append((int(entry), group))
    return found
