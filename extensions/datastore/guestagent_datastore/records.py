# SPDX-License-Identifier: Apache-2.0
"""What the extension must know after the agent was killed, in one small file each."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A change that is being made.

    :ivar since: UNIX seconds.
    """

    name: str
    since: float
    command_id: str = ''


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

    def begin(self, operation: Operation) -> None:
        """Keep what is about to be changed, on the disk before it begins."""
        self._write('operation', dataclasses.asdict(operation))
        self.running = operation

    def end(self) -> None:
        """It is done, or has failed in an orderly way."""
        self.running = None
        (self._folder / 'operation.json').unlink(missing_ok=True)

    @property
    def wanted(self) -> bool:
        """Whether the server is meant to run."""
        return bool(self._read('wanted'))

    @wanted.setter
    def wanted(self, value: bool) -> None:
        self._write('wanted', value)

    def _read(self, name: str) -> Any:
        """Return what is kept; ``None``: nothing, or nothing that can be read."""
        try:
            return json.loads((self._folder / f'{name}.json').read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            # Cut off by a power cut: it was never kept.
            return None

    def _write(self, name: str, value: Any) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f'{name}.json'
        fresh = path.with_suffix('.new')
        with open(fresh, 'w') as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
