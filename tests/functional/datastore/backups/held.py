# SPDX-License-Identifier: Apache-2.0
"""Commands on threads of their own, whose workers are held in the midst of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_datastore.backups import child

from devstack import processes
from guestagent import extension
from guestagent.agent import registry
from tests.functional.datastore import conftest as guests
from tests.functional.datastore.backups import stopping


class Held:
    """A command whose worker was stopped by a signal.

    :ivar context: the command's.
    """

    def __init__(self, guest: guests.Guest, method: str, **arguments: Any) -> None:
        assert guest.made is not None
        command = registry.Loaded('datastore', guest.made).commands[method]
        self.context = extension.Context('tester', 'the-command')
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._done = self._pool.submit(command.function, self.context, **arguments)
        self._worker = 0

    def hold(self) -> None:
        """Wait until its worker has stopped itself, with its programs at work."""

        def found() -> int:
            if self._done.done():
                self._done.result()
            return next((pid for pid in _workers() if _is_stopped(pid)), 0)

        self._worker = processes.wait_for(found, 'a worker that is stopped', 60)

    def kill(self) -> None:
        """Kill the worker, so that the stream ends where it is."""
        os.kill(self._worker, signal.SIGKILL)
        self._worker = 0

    def go(self) -> Any:
        """Let it go on; return the command's result."""
        if self._worker:
            os.kill(self._worker, signal.SIGCONT)
            self._worker = 0
        return self._done.result(60)

    def close(self) -> None:
        """Wait for its end, however it comes."""
        with contextlib.suppress(Exception):
            self.go()
        self._pool.shutdown()


@contextlib.contextmanager
def held(guest: guests.Guest, method: str, **arguments: Any) -> Iterator[Held]:
    """Begin a command and hold its worker where programs are at work."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(child, 'MODULE', stopping.__name__)
        made = Held(guest, method, **arguments)
        try:
            made.hold()
            # What others begin meanwhile is not held.
            patched.undo()
            yield made
        finally:
            made.close()


def _workers() -> list[int]:
    """Return the workers of this process."""
    found = []
    for task in pathlib.Path('/proc/self/task').iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / 'children').read_text().split()]
    return [pid for pid in found if stopping.__name__ in _words(pid)]


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
        return stat.rpartition(')')[2].split()[0] == 'T'
    return False


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return pathlib.Path(f'/proc/{pid}/cmdline').read_text().split('\0')
    return ['']
