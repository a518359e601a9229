# SPDX-License-Identifier: Apache-2.0
"""Backups that are being made, kept on the disk: what a crash must not forget."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Unfinished:
    """A backup that has begun and was neither made nor removed without a rest.

    :ivar name: the object's.
    :ivar since: UNIX seconds.
    :ivar failed: whoever asked for it has been told that it failed.
    """

    backup_id: str
    name: str
    storage: str
    url: str
    container: str
    since: float
    command_id: str = ''
    failed: bool = False


class Records:
    """Keeps them, each in a file of its own.

    :param folder: made when the first one is kept.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def keep(self, record: Unfinished) -> None:
        """Keep one; it is on the disk when this returns."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.backup_id)
        fresh = path.with_suffix('.new')
        with open(fresh, 'w') as file:
            json.dump(dataclasses.asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def forget(self, backup_id: str) -> None:
        """Nothing is left of it."""
        self._path(backup_id).unlink(missing_ok=True)

    def all(self) -> list[Unfinished]:
        """Return those that are kept, the oldest first."""
        found = []
        for path in self._folder.glob('*.json'):
            try:
                known: dict[str, Any] = json.loads(path.read_text())
                found.append(Unfinished(**known))
            except (OSError, ValueError, TypeError):
                # Forgotten meanwhile, or never written to its end.
                continue
        return sorted(found, key=lambda record: record.since)

    def _path(self, backup_id: str) -> pathlib.Path:
        return self._folder / f'{backup_id}.json'
