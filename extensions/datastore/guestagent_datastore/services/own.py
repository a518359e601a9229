# SPDX-License-Identifier: Apache-2.0
"""The extension runs the server: a process of its own that outlives the agent.

It inherits a file that nobody else has open.  By that it is found again, also by a
later agent and before it listens: a number in a file could be another process by then.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess

from guestagent import errors
from guestagent_datastore import engine as engines
from guestagent_datastore import files, holders, programs, services


class Own(services.Service):
    """A detached process.

    :param folder: where the file by which it is found lies.
    """

    def __init__(self, engine: engines.Engine, folder: pathlib.Path) -> None:
        super().__init__(engine)
        self._mark = folder / 'server'
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a session of its own, with its output in the folder of logs.

        What one that ended by itself has left behind would still hold its files: that
        is killed first.
        """
        command = self._engine.server_command()
        self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        holders.end(self._mark)
        log = self._engine.place.logs / 'output.log'
        try:
            with open(self._mark, 'w') as mark, open(log, 'ab') as output:
                self._process = subprocess.Popen(
                    command.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[mark.fileno()],
                    cwd=command.folder,
                    env=programs.environment(command),
                    start_new_session=True,
                    **programs.account(command),
                )
                mark.write(str(self._process.pid))
        except OSError as error:
            raise errors.GuestError(
                f'{command.argv[0]} cannot be started: {error.strerror or error}'
            ) from None

    def stop(self) -> None:
        """Send it the engine's signal."""
        pid = self.pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, self._engine.stop_signal))

    def pid(self) -> int:
        """Return the process that was started, if it still has our file open.

        Where the agent was killed before it could write down which that is, it is the
        one that is not a child of another such process.
        """
        if self._process is not None:
            if self._process.poll() is None:
                return self._process.pid
            self._process = None
        found = holders.find(self._mark)
        kept = files.read(self._mark)
        if kept:
            return int(kept) if int(kept) in found else 0
        parents = {pid: _parent(pid) for pid in found}
        return next((pid for pid in parents if parents[pid] not in parents), 0)

    def set_enabled(self, enabled: bool) -> None:
        """Nothing: the extension starts what is meant to run when the agent starts."""


def _parent(pid: int) -> int:
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return 0
    # The name may hold spaces and brackets.
    return int(text.rpartition(')')[2].split()[1])
