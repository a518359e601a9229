# SPDX-License-Identifier: Apache-2.0
"""A manager of backups with an engine that stands in, and a folder for all."""

from __future__ import annotations

import pathlib
from typing import Any

from guestagent_datastore.backups import manager, targets

from guestagent import extension
from tests.unit.extensions import datastore_standin as standin


class Guest:
    """Both, with a storage in the same folder."""

    def __init__(self, folder: pathlib.Path, **options: Any) -> None:
        self.folder = folder
        self.store = folder / 'store'
        self.store.mkdir()
        self.conf = standin.options(backup_folder=str(self.store), **options)
        self.manager = manager.Manager(self.conf, folder / 'state')
        self.engine = standin.StandIn(folder)
        self.context = extension.Context('me', 'command-1')

    def target(self) -> Any:
        return targets.make(self.conf, '', {}, 'backups')

    def back_up(self, backup_id: str, parent: Any = None, key: str = '') -> Any:
        return self.manager.create(
            self.engine, backup_id, parent, self.target(), key, self.context
        )

    def restore(self, made: Any, key: str = '') -> None:
        links = self.manager.chain(
            self.engine, made['location'], made['checksum'], self.target(), self.context
        )
        self.manager.restore(self.engine, links, self.target(), key, self.context)

    def left(self) -> list[str]:
        """What is in the storage, and what is kept for after a crash."""
        return [
            path.name
            for where in (self.store / 'backups', self.folder / 'state' / 'backups')
            if where.exists()
            for path in where.iterdir()
        ]
