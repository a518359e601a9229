# SPDX-License-Identifier: Apache-2.0
"""Replication as a source sees it, and how far a server is.

A replica has a slot at its source, which keeps the WAL that it still needs.  Places in
the WAL are the same on all servers that were one once: so they tell who has most.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from guestagent import errors
from guestagent_datastore import certificates, files, models
from guestagent_datastore.engines.postgresql import client, hba, kept, server, wal

#: In front of the names of replicas' slots.
SLOT_PREFIX = 'guestagent_r_'
#: What pg_rewind calls at the source.
_REWIND = (
    'pg_ls_dir(text, boolean, boolean)',
    'pg_stat_file(text, boolean)',
    'pg_read_binary_file(text)',
    'pg_read_binary_file(text, bigint, bigint, boolean)',
)
#: How a replica does.  It has applied all that it received, or it lags since the last
#: transaction that it has applied.
_REPLICA = """
SELECT (SELECT status FROM pg_stat_wal_receiver),
  CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
  ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8,
  pg_last_wal_replay_lsn()::text, pg_is_wal_replay_paused()
"""
_SOURCE = """
SELECT pg_current_wal_lsn()::text,
  (SELECT count(*) FROM pg_stat_replication WHERE state IN ('streaming', 'catchup'))
"""
#: The last place that is here, and the server that it comes from.
_LAST = """
SELECT system_identifier::text, CASE WHEN pg_is_in_recovery()
  THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
  ELSE pg_current_wal_lsn() END::text
FROM pg_control_system()
"""
_APPLIED = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
  ELSE pg_current_wal_lsn() END::text
"""


class Replication(server.Server):
    """What has to do with a source, and with both."""

    def replication(self) -> models.Replication:
        """Return how replication goes."""
        state = self.recall()
        if self.is_replica():
            return self._replica(state)
        ((position, replicas),) = self.client.query(_SOURCE)
        return models.Replication(
            role='source' if state.is_source else 'single',
            position=position,
            read_only=state.read_only,
            replicas=replicas,
        )

    def _replica(self, state: kept.State) -> models.Replication:
        ((status, lag, position, paused),) = self.client.query(_REPLICA)
        source = state.source
        running = status == 'streaming' and not paused
        return models.Replication(
            role='replica',
            running=running,
            lag=lag if running else None,
            source=f'{source["host"]}:{source["port"]}' if source else '',
            position=position or '',
            read_only=True,
            error='' if running else self._receiver_words(),
        )

    def _receiver_words(self) -> str:
        """Return what last stopped the reception, as the log has it."""
        lines = files.tail(self.place.logs / 'postgresql.log')
        found = re.findall(r'(?:FATAL|ERROR):  (.*)', '\n'.join(lines))
        return found[-1] if found else ''

    def is_replica(self) -> bool:
        """Whether the server follows, or could."""
        return bool(self.client.value('SELECT pg_is_in_recovery()'))

    def enable_source(self) -> bool:
        """See that WAL is good for replicas; a restart is needed where it was not."""
        state = self.recall()
        needed: dict[str, models.Value] = {}
        for name, bad, good in (
            ('wal_level', 'minimal', 'replica'),
            ('max_wal_senders', '0', 10),
        ):
            if self.client.value(f'SHOW {name}') == bad:
                needed[name] = good
        state.overrides |= needed
        state.is_source = True
        self.keep(state)
        return bool(needed)

    def replication_account(self) -> models.Source:
        """Make the account of replicas; its password stays, others may use it.

        :raises guestagent.errors.GuestError: nobody could reach it, or it is a replica.
        """
        if not self.place.port:
            raise errors.GuestError('the server listens on its unix socket alone')
        state = self.recall()
        state.replica_password = state.replica_password or secrets.token_urlsafe(24)
        name = hba.REPLICATOR
        with self.client.session() as session, session.transaction():
            if not session.query('SELECT 1 FROM pg_roles WHERE rolname = %s', [name]):
                session.query('CREATE ROLE {}', names=[name])
            session.query(
                'ALTER ROLE {} LOGIN REPLICATION PASSWORD %s',
                [session.verifier(state.replica_password, name)],
                [name],
            )
            for function in _REWIND:
                session.query(
                    f'GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {{}}',
                    names=[name],
                )
        self.keep(state)
        return models.Source(
            '',
            self.number,
            name,
            state.replica_password,
            tls=bool(state.tls),
            ca=certificates.signer(state.tls),
        )

    def forget_replica(self, info: Mapping[str, Any]) -> None:
        """Drop the slot of a replica that is detached.

        :raises guestagent.errors.InvalidArgument: it is no replica's.
        """
        slot = info.get('slot')
        if not isinstance(slot, str) or not slot.startswith(SLOT_PREFIX):
            raise errors.InvalidArgument(f'slot: {slot!r} is not that of a replica')
        with self.client.session() as session:
            _drop_slots(session, 'slot_name = %s', slot)

    def demote(self) -> None:
        """Refuse writes, close the account of replicas, and drop their slots."""
        self.set_read_only(True)
        with self.client.session() as session:
            if not session.value('SELECT pg_is_in_recovery()') and session.query(
                'SELECT 1 FROM pg_roles WHERE rolname = %s', [hba.REPLICATOR]
            ):
                session.query('ALTER ROLE {} NOLOGIN', names=[hba.REPLICATOR])
            _drop_slots(session, 'starts_with(slot_name, %s)', SLOT_PREFIX)
        state = self.recall()
        state.replica_password, state.is_source = '', False
        self.keep(state)

    def set_read_only(self, read_only: bool) -> None:
        """Have each transaction refuse writes from its start; or take them again."""
        state = self.recall()
        state.read_only = read_only
        self.keep(state)
        self.reload()
        if read_only:
            # Those that are in the middle of a transaction would still write.
            self.terminate('usename <> %s', client.ADMIN)

    def last_transaction(self) -> models.Transaction:
        """Return the last place in the WAL that is here, also if not yet applied."""
        ((system, place),) = self.client.query(_LAST)
        return models.Transaction(system, wal.number(place))

    def position(self) -> str:
        """Return the place in the WAL up to which all is written here."""
        return str(self.client.value(_APPLIED))

    def wait_for(self, position: str, seconds: float) -> None:
        """Wait until all up to a place is applied."""
        wanted = wal.number(position)
        until = time.monotonic() + seconds
        while wal.number(self.position()) < wanted:
            if time.monotonic() > until:
                raise errors.CommandTimeout(
                    f'{position} is not applied after {seconds:g} s, '
                    f'only {self.position()}'
                )
            time.sleep(0.05)


def _drop_slots(session: client.Session, condition: str, value: str) -> None:
    """Drop slots, whoever uses them."""
    rows = session.query(
        f'SELECT slot_name::text FROM pg_replication_slots WHERE {condition}', [value]
    )
    for (slot,) in rows:
        for _ in range(100):
            active = session.query(
                'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots '
                'WHERE slot_name = %s AND active_pid IS NOT NULL',
                [slot],
            )
            if not active:
                break
            time.sleep(0.05)
        session.query('SELECT pg_drop_replication_slot(%s)', [slot])
