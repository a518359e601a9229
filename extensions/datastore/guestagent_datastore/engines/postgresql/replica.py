# SPDX-License-Identifier: Apache-2.0
"""A server that follows a source: how it comes to the source's data, and goes its way.

It is attached while it is stopped.  Data of the same origin is wound back to where the
two parted (``pg_rewind``); where there is none, or that fails, all is fetched anew
(``pg_basebackup``) beside the old data, which goes when the new is whole.
"""

from __future__ import annotations

import logging
import pathlib
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import files, models
from guestagent_datastore.engines.postgresql import (
    client,
    hba,
    kept,
    layout,
    replication,
)

LOG = logging.getLogger(__name__)

#: Seconds that fetching all data may take.
CLONE_SECONDS = 24 * 3600.0
#: Seconds for which it is tried to drop a slot, and between two times.
DROP_SECONDS, DROP_STEP = 5.0, 0.2


class Replica(replication.Replication):
    """What has to do with a replica."""

    def attach(
        self, source: models.Source, context: extension.Context | None = None
    ) -> None:
        """Get the source's data and follow it from the next start on.

        :raises guestagent.errors.GuestError: the source refuses, or its data cannot be
            fetched; the server is as it was.
        """
        if self.server_pid():
            raise errors.GuestError('the server must be stopped to be attached')
        before = self.recall()
        slot = source.slot or f'{replication.SLOT_PREFIX}{secrets.token_hex(8)}'
        state = self.recall()
        state.source = {
            'host': source.host,
            'port': source.port,
            'user': source.user,
            'password': source.password,
            'slot': slot,
            'tls': source.tls,
            'ca': source.ca,
        }
        state.wal_kept, state.read_only, state.is_source = '', False, False
        self.keep(state)
        words = self.connection_words(state)
        try:
            system = _system(source, self.tls_words(state.source))
            self._receive_wal(words, '--create-slot', '--if-not-exists', slot=slot)
            self._fetch(system, words, slot, context)
        except BaseException:
            self.keep(before)
            raise
        files.write(self.file(layout.RECOVERY), '')

    def _fetch(
        self, system: str, words: str, slot: str, context: extension.Context | None
    ) -> None:
        """Get the source's data; if that fails, it need not keep WAL for us."""
        try:
            if not self._rewind(system, words):
                self._clone(words, slot, context)
        except errors.GuestError:
            self._drop_slot(words, slot)
            raise

    def _drop_slot(self, words: str, slot: str) -> None:
        """Drop our slot; the source may not know yet that nobody receives from it."""
        until = time.monotonic() + DROP_SECONDS
        while True:
            try:
                self._receive_wal(words, '--drop-slot', slot=slot)
                return
            except errors.GuestError as error:
                if time.monotonic() > until:
                    LOG.warning('the slot %s stays at the source: %s', slot, error)
                    return
            time.sleep(DROP_STEP)

    def detach(self, for_failover: bool) -> dict[str, Any]:
        """Apply all that was received, then take writes.

        :raises guestagent.errors.GuestError: it is no replica, or does not come to it.
        """
        if not self.is_replica():
            raise errors.GuestError('the server is no replica')
        if not self.client.value('SELECT pg_promote(true, 120)'):
            raise errors.GuestError('PostgreSQL has not ended its recovery in time')
        # pg_rewind of the old source reads the new timeline from the last checkpoint.
        self.client.query('CHECKPOINT')
        state = self.recall()
        info = {
            key: state.source[key] for key in ('host', 'port', 'slot') if state.source
        }
        self._leave(state)
        self.write_hosts()
        return info

    def _leave(self, state: kept.State) -> None:
        """Forget the source; its account of replicas is ours now."""
        if state.source.get('user') == hba.REPLICATOR:
            state.replica_password = state.source['password']
        state.source, state.read_only = {}, False
        self.keep(state)

    def recover(self, operation: str) -> str:
        """Remove what was fetched only in part, too; be a replica or none."""
        text = super().recover(operation)
        fresh, old = self._beside('new'), self._beside('old')
        if old.exists() and not self.place.data.exists():
            old.rename(self.place.data)
        for path in (fresh, old):
            if path.exists():
                shutil.rmtree(path)
        state = self.recall()
        if state.source and not (self.place.data / 'standby.signal').exists():
            state.source = {}
            self.keep(state)
        return text

    def _rewind(self, system: str, words: str) -> bool:
        """Wind our data back to where the source's parted from it, if it is related."""
        if not self.initialised() or self._own_system() != system:
            return False
        self.incomplete.touch()
        arguments = [f'--target-pgdata={self.place.data}', f'--source-server={words}']
        if int(files.read(self.place.data / 'PG_VERSION')) >= 15:
            arguments.append(f'--config-file={self.file("postgresql.conf")}')
        try:
            self.run('pg_rewind', *arguments, seconds=CLONE_SECONDS)
        except errors.GuestError as error:
            # It may have changed something: the mark stays until there is other data.
            LOG.warning('the data cannot be wound back, so all is fetched: %s', error)
            return False
        self._forget_slots()
        self._follow_from(self.place.data)
        self.incomplete.unlink(missing_ok=True)
        return True

    def _clone(self, words: str, slot: str, context: extension.Context | None) -> None:
        """Fetch all data of the source, then let it take the place of ours."""
        fresh, old = self._beside('new'), self._beside('old')
        for path in (fresh, old):
            if path.exists():
                shutil.rmtree(path)
        files.make_folder(fresh, self.place.user, 0o700)
        try:
            self.run(
                'pg_basebackup',
                f'--dbname={words}',
                f'--pgdata={fresh}',
                f'--slot={slot}',
                '--wal-method=stream',
                '--checkpoint=fast',
                '--no-manifest',
                '--no-password',
                '--progress',
                seconds=CLONE_SECONDS,
                context=context,
                told=lambda said: _report(context, said),
            )
        except BaseException:
            shutil.rmtree(fresh)
            raise
        self._follow_from(fresh)
        if self.place.data.exists():
            self.place.data.rename(old)
        fresh.rename(self.place.data)
        if old.exists():
            shutil.rmtree(old)
        self.incomplete.unlink(missing_ok=True)

    def _follow_from(self, data: pathlib.Path) -> None:
        """Have a server with this data follow a source, whatever it was."""
        files.write(data / 'standby.signal', '', user=self.place.user)
        for name in ('recovery.signal', 'postmaster.pid'):
            (data / name).unlink(missing_ok=True)

    def _beside(self, what: str) -> pathlib.Path:
        return self.place.data.with_name(f'{self.place.data.name}.{what}')

    def _forget_slots(self) -> None:
        """Remove what our own replicas and backups were kept for, before the source."""
        folder = self.place.data / 'pg_replslot'
        for path in folder.iterdir():
            shutil.rmtree(path)

    def _own_system(self) -> str:
        said = self.run('pg_controldata', f'--pgdata={self.place.data}')
        for line in said.splitlines():
            name, _, value = line.partition(':')
            if name == 'Database system identifier':
                return value.strip()
        raise errors.GuestError('pg_controldata does not say which server it is')

    def _receive_wal(self, words: str, *arguments: str, slot: str) -> None:
        self.run('pg_receivewal', f'--dbname={words}', f'--slot={slot}', *arguments)


def _report(context: extension.Context | None, said: str) -> None:
    """Say how far it is, by the last line of pg_basebackup's own."""
    found = re.findall(r'(\d+)/(\d+) kB', said)
    if context is not None and found:
        done, of = map(int, found[-1])
        percent = min(99.0, 100 * done / of) if of else None
        context.report_progress(percent, f'{done >> 10} MiB fetched from the source')


def _system(source: models.Source, tls_words: Mapping[str, str]) -> str:
    """Return which server the source is; tells too whether it lets us in.

    :raises guestagent.errors.GuestError: it does not, or does not answer.
    """
    import psycopg2
    from psycopg2 import extras

    with client.explained():
        connection = psycopg2.connect(
            host=source.host,
            port=source.port,
            user=source.user,
            password=source.password,
            connect_timeout=10,
            **tls_words,
            connection_factory=extras.PhysicalReplicationConnection,
        )
    try:
        with client.explained(), connection.cursor() as cursor:
            cursor.execute('IDENTIFY_SYSTEM')
            return str(cursor.fetchone()[0])
    finally:
        connection.close()
