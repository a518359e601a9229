# SPDX-License-Identifier: Apache-2.0
"""What the extension must know after the agent was killed, in one small file each."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from guestagent_datastore import files


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A change that is being made.

    :ivar since: UNIX seconds.
    """

    name: str
    since: float
    command_id: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the server is meant to do.

    :ivar run: now.
    :ivar enabled: when the guest starts.
    :ivar boot: the kernel's id of the boot in which ``run`` was said.
    """

    run: bool = False
    enabled: bool = False
    boot: str = ''


class Records:
    """Keeps what runs now, and whether the server is meant to run.

    :param folder: made when something is kept.
    :ivar running: what is being changed now, by this agent.
    :ivar interrupted: what an agent before this one did not get done.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.running: Operation | None = None
        self.interrupted: Operation | None = None
        kept = self._read('operation')
        if kept is not None:
            self.interrupted = Operation(**kept)
        self._wanted = Wanted(**(self._read('wanted') or {}))

    def begin(self, operation: Operation) -> None:
        """Keep what is about to be changed, on the disk before it begins."""
        self._write('operation', operation)
        self.running = operation

    def end(self) -> None:
        """It is done, or has failed in an orderly way."""
        self.running = None
        (self._folder / 'operation.json').unlink(missing_ok=True)

    @property
    def wanted(self) -> Wanted:
        """What the server is meant to do."""
        return self._wanted

    def want(self, run: bool, enabled: bool) -> None:
        """Keep what the server is meant to do from now on."""
        wanted = Wanted(run, enabled, _boot())
        if wanted != self._wanted:
            self._write('wanted', wanted)
            self._wanted = wanted

    @property
    def due(self) -> bool:
        """Whether the server is to run now."""
        return self._wanted.run or (self._wanted.enabled and self.booted)

    @property
    def booted(self) -> bool:
        """Whether the guest has started since it was said what the server is to do."""
        return self._wanted.boot != _boot()

    def _read(self, name: str) -> Any:
        """Return what is kept; ``None``: nothing."""
        text = files.read(self._folder / f'{name}.json')
        return json.loads(text) if text else None

    def _write(self, name: str, value: Operation | Wanted) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(
            self._folder / f'{name}.json', json.dumps(dataclasses.asdict(value)), 0o600
        )


def _boot() -> str:
    return pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
