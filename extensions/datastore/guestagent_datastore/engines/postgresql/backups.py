# SPDX-License-Identifier: Apache-2.0
"""Backups: the cluster as ``pg_basebackup`` gives it, then the WAL since then.

A full backup is a tar archive of the data folder, with the WAL that makes it whole.
An incremental one is a tar archive of the segments of WAL from its parent on.  A
replication slot holds them until then, so that nothing is stored twice on the volume:
WAL is removed with the next backup, or when there is more of it than
``max_slot_wal_keep_size``.

A restored server reads all WAL that is there, and begins a new timeline.  So the first
backup of it is a full one.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping

from guestagent import errors, extension
from guestagent_datastore import files, models, transfer
from guestagent_datastore.engines.postgresql import client, foreign, server, wal

#: What holds WAL for the next incremental backup.
SLOT = 'guestagent_backup'


class Backups(server.Server):
    """What has to do with backups."""

    def backup(
        self, parent: Mapping[str, str] | None, work: pathlib.Path
    ) -> transfer.Backup:
        """Begin a backup.

        :raises guestagent.errors.InvalidArgument: the parent is of another server or
            of before a restore, or WAL since it is gone.
        """
        if parent is None:
            return Full(self)
        return Incremental(self, parent, work)

    def restore(self, work: pathlib.Path) -> transfer.Restore:
        """Begin a restore."""
        return Restore(self)

    def lock_writes(self) -> Callable[[], None]:
        """Bring all to the disk and say that a backup is made."""
        session = self.client.open()
        begin, end = 'pg_backup_start(%s, true)', 'pg_backup_stop(false)'
        if session.connection.server_version < 150000:
            begin, end = 'pg_start_backup(%s, true, false)', 'pg_stop_backup(false)'
        try:
            session.query('SET statement_timeout = 0')
            session.query(f'SELECT {begin}', ['guestagent snapshot'])
        except BaseException:
            session.connection.close()
            raise

        def release() -> None:
            try:
                session.query(f'SELECT {end}')
            finally:
                session.connection.close()

        return release

    def identity(self) -> dict[str, str]:
        """Return which server this is, at which place of which timeline."""
        with self.client.session() as session:
            replica = bool(session.value('SELECT pg_is_in_recovery()'))
            timeline = 'SELECT timeline_id FROM pg_control_checkpoint()'
            place = 'SELECT pg_last_wal_replay_lsn()::text'
            if not replica:
                place = 'SELECT pg_current_wal_lsn()::text'
                name = 'pg_walfile_name(pg_current_wal_lsn())'
                timeline = f"SELECT ('x' || substr({name}, 1, 8))::bit(32)::int"
            size = 'SELECT bytes_per_wal_segment FROM pg_control_init()'
            return {
                'system': str(
                    session.value('SELECT system_identifier FROM pg_control_system()')
                ),
                'timeline': str(session.value(timeline)),
                'position': str(session.value(place)),
                'segment_size': str(session.value(size)),
                'major': str(session.connection.server_version // 10000),
                'replica': 'yes' if replica else '',
            }


class Full(transfer.Backup):
    """The whole cluster."""

    form = 'tar'

    def __init__(self, engine: Backups) -> None:
        self._engine = engine
        self._identity = engine.identity()
        if not self._identity['replica']:
            _hold_wal(engine.client, engine.recall().wal_kept)
        self.estimate = int(
            engine.client.value(
                'SELECT sum(pg_database_size(oid))::bigint FROM pg_database'
            )
        )
        self.command = models.Command(
            (
                engine.program('pg_basebackup'),
                f'--host={engine.place.run}',
                f'--port={engine.number}',
                f'--username={client.ADMIN}',
                '--no-password',
                '--pgdata=-',
                '--format=tar',
                '--wal-method=fetch',
                '--checkpoint=fast',
                '--no-manifest',
            ),
            user=engine.place.user,
            folder=engine.place.run,
        )

    def metadata(self) -> dict[str, str]:
        """Return which server it is of; from where on WAL is kept for it."""
        identity = self._identity
        size = int(identity['segment_size'])
        state = self._engine.recall()
        state.wal_kept = '' if identity['replica'] else identity['position']
        self._engine.keep(state)
        return {
            **identity,
            'kind': 'full',
            'next': str(wal.number(identity['position']) // size),
        }

    def close(self) -> None:
        """Nothing is left behind."""


class Incremental(transfer.Backup):
    """The WAL since a parent."""

    form = 'tar'

    def __init__(
        self, engine: Backups, parent: Mapping[str, str], work: pathlib.Path
    ) -> None:
        self._engine = engine
        self._list = work / 'segments'
        before = engine.identity()
        _check_parent(before, parent)
        engine.client.query('SELECT pg_switch_wal()')
        self._identity = engine.identity()
        self._size = int(before['segment_size'])
        self._first = int(parent['next'])
        # The one that is written now does not belong to it.
        self._next = wal.number(self._identity['position']) // self._size
        segments = range(self._first, self._next)
        folder = engine.place.data / 'pg_wal'
        names = [
            wal.file_name(int(before['timeline']), segment, self._size)
            for segment in segments
        ]
        _hold_wal(engine.client, wal.text(self._first * self._size))
        if not all((folder / name).is_file() for name in names):
            raise errors.InvalidArgument(
                'parent: the WAL since that backup is not kept any more: '
                'make a full backup'
            )
        files.write(self._list, ''.join(f'{name}\n' for name in names))
        self.estimate = len(segments) * self._size
        self.command = models.Command(
            (
                'tar',
                '--create',
                '--file=-',
                f'--directory={folder}',
                f'--files-from={self._list}',
            )
        )

    def metadata(self) -> dict[str, str]:
        """Return which segments it has."""
        state = self._engine.recall()
        state.wal_kept = wal.text(self._next * self._size)
        self._engine.keep(state)
        return {
            **self._identity,
            'kind': 'incremental',
            'first': str(self._first),
            'next': str(self._next),
        }

    def close(self) -> None:
        """Remove the list of segments."""
        self._list.unlink(missing_ok=True)


class Restore(transfer.Restore):
    """A cluster that is put together again in the data folder."""

    def __init__(self, engine: Backups) -> None:
        self._engine = engine
        self._place = engine.place
        self._before: Mapping[str, str] = {}
        self._last: Mapping[str, str] = {}
        self._finished = False
        self._filling = contextlib.ExitStack()
        self._filling.enter_context(engine.filling())

    def part(self, metadata: Mapping[str, str]) -> models.Command:
        """Return ``tar``; WAL goes where the server looks for it.

        :raises guestagent.errors.GuestError: the server cannot read it, or it does not
            follow the one before.
        """
        metadata = foreign.known(metadata)
        folder = self._place.data
        if self._last:
            _check_follows(self._last, metadata)
            folder = folder / 'pg_wal'
        elif metadata.get('kind') != 'full':
            raise errors.GuestError('this is no full backup of PostgreSQL')
        elif foreign.MARK not in metadata:
            self._engine.check_major(metadata['major'])
        self._before, self._last = self._last, metadata
        return models.Command(
            ('tar', '--extract', '--file=-', f'--directory={folder}'),
            user=self._place.user,
            folder=self._place.run,
        )

    def part_done(self, context: extension.Context | None = None) -> None:
        """See that what belongs to it is there."""
        if self._last['kind'] == 'full':
            for name in ('PG_VERSION', 'backup_label', 'global/pg_control'):
                if not (self._place.data / name).is_file():
                    raise errors.GuestError(f'the backup is not whole: no {name}')
            version = (self._place.data / 'PG_VERSION').read_text()
            self._engine.check_major(version.strip())
        folder = self._place.data / 'pg_wal'
        names, size = self._segments(folder)
        for name in names:
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise errors.GuestError(f'the backup is not whole: no WAL {name}')

    def _segments(self, folder: pathlib.Path) -> tuple[list[str], int]:
        """Return the names of the WAL that must have come, and its size."""
        last = self._last
        if foreign.MARK in last:
            return foreign.segments(self._before, last, folder)
        if last['kind'] == 'full':
            return [], 0
        size, timeline = int(last['segment_size']), int(last['timeline'])
        numbers = range(int(last['first']), int(last['next']))
        return [wal.file_name(timeline, number, size) for number in numbers], size

    def finish(self) -> None:
        """Have the server read all WAL at its next start, then go on by itself."""
        engine = self._engine
        for name in ('standby.signal', 'postmaster.pid'):
            (self._place.data / name).unlink(missing_ok=True)
        engine.prepare_folders()
        state = engine.recall()
        state.wal_kept, state.source, state.is_source = '', {}, False
        engine.keep(state)
        engine.recover_at_start()
        self._finished = True

    def close(self) -> None:
        """Remove what was restored unless it is whole."""
        if not self._finished:
            files.empty(self._place.data)
        self._filling.close()


def _hold_wal(connected: client.Client, since: str) -> None:
    """Have the server keep WAL from now on, or since a place if it still has that."""
    with connected.session() as session:
        rows = session.query(
            'SELECT restart_lsn::text, wal_status FROM pg_replication_slots '
            'WHERE slot_name = %s',
            [SLOT],
        )
        if rows and rows[0][1] == 'lost':
            session.query('SELECT pg_drop_replication_slot(%s)', [SLOT])
            rows = []
        if not rows:
            session.query(
                'SELECT pg_create_physical_replication_slot(%s, true)', [SLOT]
            )
        elif since and wal.number(since) > wal.number(rows[0][0]):
            session.query(
                'SELECT pg_replication_slot_advance(%s, %s::pg_lsn)', [SLOT, since]
            )


def _check_parent(now: Mapping[str, str], parent: Mapping[str, str]) -> None:
    """Refuse a parent whose WAL is not this server's."""
    if now['replica']:
        raise errors.InvalidArgument(
            'parent: a replica makes full backups only; ask its source'
        )
    if any(now[key] != parent.get(key) for key in ('system', 'timeline', 'major')):
        raise errors.InvalidArgument(
            'parent: that is a backup of another server, or of before this one was '
            'restored or promoted: make a full backup'
        )


def _check_follows(before: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    if foreign.MARK in metadata:
        follows = foreign.follows(before, metadata)
    else:
        follows = (
            all(before.get(key) == metadata.get(key) for key in ('system', 'timeline'))
            and metadata['kind'] == 'incremental'
            and int(metadata['first']) <= int(before['next'])
        )
    if not follows:
        raise errors.GuestError('this backup does not follow the one before it')
