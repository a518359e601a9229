# SPDX-License-Identifier: Apache-2.0
"""An engine whose backup is what a shell command writes, for tests of the pipeline."""

from __future__ import annotations

import pathlib
import types
from collections.abc import Mapping
from typing import Any

from guestagent_datastore import engine, models, transfer
from guestagent_datastore.backups import conf

from guestagent import errors, extension


def options(**given: Any) -> Any:
    """Return the options of backups, with their defaults."""
    values = {option.dest: option.default for option in conf.OPTIONS}
    return types.SimpleNamespace(**{**values, 'backup_storage': 'file', **given})


class Backup(transfer.Backup):
    form = 'tar'

    def __init__(self, engine: StandIn) -> None:
        self.command = models.Command(('sh', '-c', engine.writes))
        self.estimate = engine.estimate
        self._engine = engine

    def metadata(self) -> dict[str, str]:
        if self._engine.refuses:
            raise errors.GuestError(self._engine.refuses)
        return {'lsn': '17'}

    def close(self) -> None:
        self._engine.closed += 1


class Restore(transfer.Restore):
    def __init__(self, engine: StandIn) -> None:
        self._engine = engine

    def part(self, metadata: Mapping[str, str]) -> models.Command:
        self._engine.parts.append(dict(metadata))
        return models.Command(('sh', '-c', self._engine.reads))

    def part_done(self, context: extension.Context | None = None) -> None:
        self._engine.done += 1

    def finish(self) -> None:
        self._engine.finished = True

    def close(self) -> None:
        self._engine.closed += 1


class StandIn(engine.Engine):
    """An engine with shell commands.

    :ivar writes: the backup is its output.
    :ivar reads: it reads what is restored.
    :ivar refuses: why a backup is not whole after all.
    """

    name = 'standin'

    def __init__(self, folder: pathlib.Path) -> None:
        self.place = types.SimpleNamespace(user='root', volume=folder)  # type: ignore[assignment]
        self.writes, self.reads, self.refuses = 'echo data', 'cat >/dev/null', ''
        self.estimate = 0
        self.closed = self.done = 0
        self.finished = False
        self.parts: list[dict[str, str]] = []
        self.given: list[Mapping[str, str] | None] = []

    def backup(
        self, parent: Mapping[str, str] | None, work: pathlib.Path
    ) -> transfer.Backup:
        self.given.append(parent)
        return Backup(self)

    def restore(self, work: pathlib.Path) -> transfer.Restore:
        return Restore(self)
