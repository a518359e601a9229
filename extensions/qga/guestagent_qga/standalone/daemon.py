# SPDX-License-Identifier: Apache-2.0
"""Go on without a terminal, and note the process in a file that only one may hold."""

from __future__ import annotations

import fcntl
import os


def detach() -> None:
    """Let the shell have its prompt back; return in the process that goes on."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir('/')
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


class PidFile:
    """A file with the number of this process, locked as long as it runs.

    :raises OSError: it cannot be made, or another process has it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f'{os.getpid()}\n'.encode(), 0)
        except OSError:
            os.close(self._descriptor)
            raise

    def remove(self) -> None:
        """Remove it; called at the end."""
        try:
            os.unlink(self._path)
        except OSError:
            pass  # who removed it before meant the same
        os.close(self._descriptor)
