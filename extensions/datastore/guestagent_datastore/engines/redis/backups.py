# SPDX-License-Identifier: Apache-2.0
"""Backups: the snapshot (RDB) that the server sends to a replica, as a stream.

A child of the server writes it straight into the connection, so nothing of it is stored
in the guest.
"""

from __future__ import annotations

import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping

from guestagent import errors, extension
from guestagent_datastore import files, models, programs, transfer
from guestagent_datastore.engines.redis import client, server

#: Seconds that a snapshot on the server's own disk may take.
SAVE_SECONDS = 3600.0


class Backups(server.Server):
    """What has to do with backups."""

    def backup(
        self, parent: Mapping[str, str] | None, work: pathlib.Path
    ) -> transfer.Backup:
        """Begin a full backup.

        :raises guestagent.errors.InvalidArgument: one that follows another is wanted.
        """
        if parent is not None:
            raise errors.InvalidArgument('parent: Redis makes full backups only')
        return Full(self)

    def restore(self, work: pathlib.Path) -> transfer.Restore:
        """Begin a restore."""
        return Restore(self)

    def lock_writes(self) -> Callable[[], None]:
        """Have all data on the disk; the server writes at its own times only."""
        before = self.client.info('persistence')['rdb_saves']
        self.client.run('BGSAVE', 'SCHEDULE')
        until = time.monotonic() + SAVE_SECONDS
        while True:
            info = self.client.info('persistence')
            if info['rdb_bgsave_in_progress'] == '0':
                if info['rdb_last_bgsave_status'] != 'ok':
                    raise errors.GuestError('Redis could not save its data')
                if info['rdb_saves'] != before:
                    return _nothing
            if time.monotonic() > until:
                raise errors.GuestError('Redis does not come to save its data')
            time.sleep(0.05)


class Full(transfer.Backup):
    """All data."""

    form = 'rdb'

    def __init__(self, engine: Backups) -> None:
        self._version = engine.client.info('server')['redis_version']
        self.estimate = int(engine.client.info('memory')['used_memory'])
        self.command = models.Command(
            (
                'redis-cli',
                '-s',
                str(engine.socket),
                '--user',
                client.ADMIN,
                '--rdb',
                '-',
            ),
            {'REDISCLI_AUTH': engine.recall().password},
        )

    def metadata(self) -> dict[str, str]:
        """Return which version made it."""
        return {'kind': 'full', 'version': self._version}

    def close(self) -> None:
        """Nothing is left behind."""


class Restore(transfer.Restore):
    """A snapshot that becomes the server's data."""

    def __init__(self, engine: Backups) -> None:
        self._engine = engine
        self._finished = False
        self._path = engine.place.data / 'dump.rdb'
        files.write(engine.file_of_restore, 'restore')
        engine.prepare_folders()

    def part(self, metadata: Mapping[str, str]) -> models.Command:
        """Return what writes the file.

        :raises guestagent.errors.GuestError: it is no backup of Redis.
        """
        if metadata.get('kind') != 'full' or self._path.exists():
            raise errors.GuestError('this is not the one full backup of Redis')
        return models.Command(
            ('dd', f'of={self._path}', 'bs=1M', 'iflag=fullblock', 'status=none'),
            user=self._engine.place.user,
            folder=self._engine.place.run,
        )

    def part_done(self, context: extension.Context | None = None) -> None:
        """See that the snapshot is whole, and cut off what came after its checksum.

        A server that sends it as it makes it ends it by a mark of its own.
        """
        try:
            said = programs.run(
                models.Command(('redis-check-rdb', str(self._path))),
                context=context,
                seconds=SAVE_SECONDS,
            )
        except errors.Cancelled:
            raise
        except errors.GuestError as error:
            raise errors.GuestError(f'the backup is not whole: {error}') from None
        found = re.search(r'\[offset (\d+)\] \\o/ RDB looks OK', said)
        if found is None:
            raise errors.GuestError('redis-check-rdb does not say where the data ends')
        os.truncate(self._path, int(found[1]))

    def finish(self) -> None:
        """Let the server find it, also where it keeps a log of changes."""
        folder = self._path.parent / 'appendonlydir'
        name = 'appendonly.aof.1.base.rdb'
        files.make_folder(folder, self._engine.place.user, 0o700)
        os.link(self._path, folder / name)
        files.write(
            folder / 'appendonly.aof.manifest',
            f'file {name} seq 1 type b\n',
            0o600,
            self._engine.place.user,
        )
        self._engine.file_of_restore.unlink()
        self._engine.initialise()
        self._finished = True

    def close(self) -> None:
        """Remove what was restored unless it is whole."""
        if not self._finished:
            files.empty(self._path.parent)
            self._engine.file_of_restore.unlink(missing_ok=True)


def _nothing() -> None:
    """Nothing is to be undone."""
