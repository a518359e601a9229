# SPDX-License-Identifier: Apache-2.0
"""What the extension must know after the agent was killed, in one small file each."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Literal

from guestagent_datastore import files

#: A change, of which there is one at a time; and a backup, which some bear beside them.
Kind = Literal['operation', 'backup']
#: In the order in which one that was cut short is told.
KINDS: tuple[Kind, ...] = ('backup', 'operation')


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A change, or a backup, that is being made.

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
    :ivar running: what is done now, by this agent, by its kind.
    :ivar interrupted: what an agent before this one did not get done, by its kind.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.running: dict[Kind, Operation] = {}
        self.interrupted: dict[Kind, Operation] = {}
        for kind in KINDS:
            kept = self._read(kind)
            if kept is not None:
                self.interrupted[kind] = Operation(**kept)
        self._wanted = Wanted(**(self._read('wanted') or {}))

    def begin(self, operation: Operation, kind: Kind = 'operation') -> None:
        """Keep what is about to be done, on the disk before it begins."""
        self._write(kind, operation)
        self.running[kind] = operation

    def end(self, kind: Kind = 'operation') -> None:
        """It is done, or has failed in an orderly way."""
        self.running.pop(kind, None)
        self.interrupted.pop(kind, None)
        (self._folder / f'{kind}.json').unlink(missing_ok=True)

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
