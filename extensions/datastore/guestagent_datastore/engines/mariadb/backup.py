# SPDX-License-Identifier: Apache-2.0
"""Backups of MariaDB by its own tool, which copies while the server works.

A restore is made in the data folder itself; only what an incremental backup has changed
lies beside it for a moment.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Mapping

from guestagent import errors, extension
from guestagent_datastore import files, models, programs, transfer
from guestagent_datastore.engines.mariadb import client, server

#: What the tool leaves beside the data, by its two names.
_CHECKPOINTS = ('mariadb_backup_checkpoints', 'xtrabackup_checkpoints')
_INFO = ('mariadb_backup_info', 'xtrabackup_info')

#: Seconds that applying a backup may take.
PREPARE_SECONDS = 86400
#: The memory that it uses.
PREPARE_MEMORY = '256M'


class Backup(transfer.Backup):
    """A backup in the format of mbstream.

    :param lsn: only what has changed since; ``''``: all.
    """

    form = 'mbstream'

    def __init__(self, engine: server.Server, lsn: str, work: pathlib.Path) -> None:
        self._work = work
        target, self._lsn_folder = work / 'target', work / 'lsn'
        for folder in (target, self._lsn_folder):
            folder.mkdir()
        argv = [
            'mariadb-backup',
            f'--defaults-file={engine.file("my.cnf")}',
            '--backup',
            '--stream=mbstream',
            f'--user={client.administrator()}',
            f'--socket={engine.socket}',
            f'--target-dir={target}',
            f'--extra-lsndir={self._lsn_folder}',
        ]
        if lsn:
            argv.append(f'--incremental-lsn={lsn}')
        else:
            self.estimate = files.size(engine.place.data)
        self.command = models.Command(tuple(argv), folder=work)

    def metadata(self) -> dict[str, str]:
        """Return up to where it goes: ``lsn``, and ``gtid`` where there are any."""
        checkpoints = files.read(_first(self._lsn_folder, _CHECKPOINTS))
        found = re.search(r'^to_lsn = (\d+)$', checkpoints, re.MULTILINE)
        if found is None:
            raise errors.GuestError('mariadb-backup left no checkpoint behind')
        return {'lsn': found[1], 'gtid': _gtid(self._lsn_folder)}

    def close(self) -> None:
        """Remove the folders."""
        files.empty(self._work)


class Restore(transfer.Restore):
    """Puts streams together in the data folder."""

    def __init__(self, engine: server.Server, work: pathlib.Path) -> None:
        self._engine = engine
        self._data = engine.place.data
        self._work = work
        self._into = self._data
        self._gtid = ''
        self._whole = False
        self._filling = contextlib.ExitStack()
        self._filling.enter_context(engine.filling())

    def part(self, metadata: Mapping[str, str]) -> models.Command:
        """Return what unpacks the next stream: the first into the data folder."""
        if any(self._data.iterdir()):
            self._into = self._work / 'increment'
            files.make_folder(self._work, self._engine.place.user, 0o700)
            files.make_folder(self._into, self._engine.place.user, 0o700)
        return models.Command(
            ('mbstream', '--extract', f'--directory={self._into}'),
            folder=self._into,
            user=self._engine.place.user,
        )

    def part_done(self, context: extension.Context | None = None) -> None:
        """Apply what the server had not written when the backup was made."""
        self._gtid = _gtid(self._into)
        argv = ['mariadb-backup', '--prepare', f'--use-memory={PREPARE_MEMORY}']
        argv.append(f'--target-dir={self._data}')
        if self._into != self._data:
            argv.append(f'--incremental-dir={self._into}')
        programs.run(
            models.Command(
                tuple(argv), folder=self._data, user=self._engine.place.user
            ),
            context=context,
            seconds=PREPARE_SECONDS,
        )
        if self._into != self._data:
            files.empty(self._work)

    def finish(self) -> None:
        """Remove what the tool has left beside the data, and keep the position."""
        if not (self._data / 'mysql').is_dir():
            raise errors.GuestError('the backup holds no data of a MariaDB server')
        for pattern in ('xtrabackup_*', 'mariadb_backup_*', 'backup-my.cnf'):
            for path in self._data.glob(pattern):
                path.unlink()
        files.write(self._engine.restored, self._gtid, 0o600)
        self._whole = True

    def close(self) -> None:
        """Empty the folders that were not finished."""
        files.empty(self._work)
        if self._whole:
            self._filling.close()
            return
        files.empty(self._data)
        self._filling.close()


class Backups(server.Server):
    """Makes backups and takes them back."""

    def backup(self, parent: Mapping[str, str] | None, work: pathlib.Path) -> Backup:
        """Begin a backup.

        :raises guestagent.errors.InvalidArgument: ``parent`` says not up to where it
            goes.
        """
        lsn = '' if parent is None else parent.get('lsn', '')
        if parent is not None and not lsn.isdecimal():
            raise errors.InvalidArgument('parent: it is no backup of MariaDB')
        return Backup(self, lsn, work)

    def restore(self, work: pathlib.Path) -> Restore:
        """Begin a restore."""
        return Restore(self, work)


def _first(folder: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    """Return the first of these files that is there, or the last one."""
    found = [folder / name for name in names if (folder / name).exists()]
    return found[0] if found else folder / names[-1]


def _gtid(folder: pathlib.Path) -> str:
    """Return the GTID position of a backup; ``''``: the server wrote no binary log."""
    info = files.read(_first(folder, _INFO))
    found = re.search(r"^binlog_pos = .*GTID of the last change '([^']*)'", info, re.M)
    return found[1] if found else ''
