# SPDX-License-Identifier: Apache-2.0
"""A file system that is frozen for a while, and thaws whatever happens.

A small shell does it and is told the end by the end of its input: when the agent is
killed, too.  It takes no notice of a polite request to end, which systemd makes to all
that an agent has started.
"""

from __future__ import annotations

import os
import pathlib
import select
import subprocess
import threading
from collections.abc import Callable

from guestagent import errors
from guestagent_datastore import models, programs

#: Seconds until the file system is frozen: what is written at that time ends first.
FREEZE_SECONDS = 30.0

_SCRIPT = """\
trap '' HUP INT TERM
fsfreeze --freeze "$1" || exit 1
echo frozen
timeout "$2" cat >/dev/null
held=$?
fsfreeze --unfreeze "$1"
exit "$held"
"""


class Frozen:
    """A frozen file system.

    :param seconds: how long at most.
    :param thawed: called once it is thawed, on another thread.
    :raises guestagent.errors.GuestError: it cannot be frozen.
    """

    def __init__(
        self, mount_point: pathlib.Path, seconds: float, thawed: Callable[[], None]
    ) -> None:
        words = ('sh', '-c', _SCRIPT, 'freeze', str(mount_point), f'{seconds:g}')
        command = models.Command(words)
        self._thawed = thawed
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=programs.environment(command),
            start_new_session=True,
        )
        self._wait_frozen(mount_point)
        self._thread = threading.Thread(
            target=self._wait, name='datastore-freeze', daemon=True
        )
        self._thread.start()

    def end(self) -> bool:
        """Thaw it; returns whether it was frozen until now."""
        self._close()
        self._thread.join()
        return self._process.returncode == 0

    def _wait_frozen(self, mount_point: pathlib.Path) -> None:
        output, complaints = self._process.stdout, self._process.stderr
        assert output is not None
        assert complaints is not None
        ready, _, _ = select.select([output], [], [], FREEZE_SECONDS)
        if ready and output.readline() == b'frozen\n':
            return
        self._close()
        if not ready:
            raise errors.GuestError(
                f'{mount_point} could not be frozen within {FREEZE_SECONDS:g} s'
            )
        said = os.read(complaints.fileno(), 4096).decode(errors='replace').strip()
        self._process.wait()
        raise errors.GuestError(f'{mount_point} cannot be frozen: {said}')

    def _wait(self) -> None:
        self._process.wait()
        self._thawed()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


def thaw(mount_point: pathlib.Path) -> None:
    """Thaw what nobody else will; no harm if it is not frozen."""
    command = models.Command(('fsfreeze', '--unfreeze', str(mount_point)))
    programs.run(command, codes=(0, 1))
