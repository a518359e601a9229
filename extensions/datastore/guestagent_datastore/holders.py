# SPDX-License-Identifier: Apache-2.0
"""Which processes have a file open: how those that outlive an agent are found again."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time

from guestagent import errors

#: Seconds that killed processes get to be gone.
END_SECONDS = 10.0


def find(path: pathlib.Path) -> list[int]:
    """Return the processes that have a file open, but not this one."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return []
    pids = (int(name) for name in os.listdir('/proc') if name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _has_open(pid, wanted)]


def end(path: pathlib.Path) -> None:
    """Kill the processes that have a file open, and wait until they are gone.

    :raises guestagent.errors.GuestError: one does not go.
    """
    until = time.monotonic() + END_SECONDS
    while pids := find(path):
        if time.monotonic() > until:
            raise errors.GuestError(f'process {pids[0]} cannot be ended')
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    # It may have gone, or be another user's: then it is none of ours.
    with contextlib.suppress(OSError):
        for fd in os.listdir(f'/proc/{pid}/fd'):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(f'/proc/{pid}/fd/{fd}'), wanted):
                    return True
    return False
