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

from guestagent_datastore.backups import child

from devstack import processes
from guestagent import extension
from guestagent.agent import registry
from tests.functional.datastore import conftest as guests


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

    def hold(self, operation: str) -> None:
        """Stop the worker that does this, once it has begun."""

        def found() -> int:
            if self._done.done():
                self._done.result()
            return next((pid for pid in _workers() if _does(pid, operation)), 0)

        self._worker = processes.wait_for(found, 'a worker', spacing=0.002)
        os.kill(self._worker, signal.SIGSTOP)

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
def held(
    guest: guests.Guest, operation: str, method: str, **arguments: Any
) -> Iterator[Held]:
    """Begin a command and hold its worker where programs are at work.

    :param operation: ``backup`` or ``restore``.
    """
    made = Held(guest, method, **arguments)
    try:
        made.hold(operation)
        yield made
    finally:
        made.close()


def _workers() -> list[int]:
    """Return the workers of this process."""
    found = []
    for task in pathlib.Path('/proc/self/task').iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / 'children').read_text().split()]
    return [pid for pid in found if child.MODULE in _words(pid)]


def _does(pid: int, operation: str) -> bool:
    """Whether it has started the programs of a stream."""
    programs = {'backup': ('mariadb-backup', 'pg_basebackup', 'redis-cli')}
    names = programs.get(operation, ('mbstream', 'tar', 'dd'))
    text = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
    with contextlib.suppress(OSError):
        for each in text.read_text().split():
            if any(_words(int(each))[0].endswith(name) for name in names):
                return True
    return False


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return pathlib.Path(f'/proc/{pid}/cmdline').read_text().split('\0')
    return ['']
