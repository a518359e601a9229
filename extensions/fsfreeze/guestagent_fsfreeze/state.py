# SPDX-License-Identifier: Apache-2.0
"""What the holder says of itself in a file, for agents that start later."""

from __future__ import annotations

import json
import os
from typing import Any

#: In the folder: the socket of the holder, and its file.
SOCKET, STATE = 'socket', 'state'

PREPARING, FREEZING, FROZEN, THAWED = 'preparing', 'freezing', 'frozen', 'thawed'


def read(folder: str) -> dict[str, Any] | None:
    """Return what was said last; ``None``: nothing.

    ``{state, pid, hooks, hook_timeout, mountpoints, devices, since, until, skipped,
    count, by, thawed, error, faults, ended}``, as far as it is known yet: ``since``,
    ``until`` and ``thawed`` are times; ``ended`` says that the hooks have run.
    """
    try:
        with open(os.path.join(folder, STATE), encoding='utf-8') as file:
            found: dict[str, Any] = json.load(file)
            return found
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write(folder: str, said: dict[str, Any]) -> None:
    """Say it.

    :raises OSError: that cannot be.
    """
    path = os.path.join(folder, STATE)
    with open(f'{path}.new', 'w', encoding='utf-8') as file:
        json.dump(said, file)
    os.rename(f'{path}.new', path)


def remove(folder: str) -> None:
    """Say nothing any more."""
    for name in (STATE, SOCKET):
        try:
            os.unlink(os.path.join(folder, name))
        except FileNotFoundError:
            continue
