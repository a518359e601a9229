# SPDX-License-Identifier: Apache-2.0
"""Replication of MariaDB by global transaction ids.

Each replica comes to its source by an account of its own, so that one can be forgotten
without the others.  What this engine changes in accounts of an old source is not
replicated: it would be a transaction that the new source does not have.
"""

from __future__ import annotations

import json
import pathlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import certificates, files, models
from guestagent_datastore.engines.mariadb import client, server, sql, tls, users

#: Seconds that a new replica has to reach its source, and an old one to apply what it
#: has received.
CONNECT_SECONDS, APPLY_SECONDS = 30.0, 120.0

_POSITION = re.compile(r'(\d+-\d+-\d+)(,\d+-\d+-\d+)*\Z')

TEXT = """\
# Written by the guest agent; changes are lost.
[mariadbd]
server_id = {server_id}
read_only = {read_only}
"""
BINLOG = """\
log_bin = binlog
log_slave_updates = 1
gtid_strict_mode = 1
"""


class Replication(tls.Tls):
    """Sources and replicas."""

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files, those of replication as they were."""
        self.prepare_folders()
        self._write_role(self._read_role())
        super().configure(contents, memory)

    def replication(self) -> models.Replication:
        """Return how replication goes."""
        found = self._follows()
        position, read_only = self._row('SELECT @@gtid_current_pos, @@read_only')
        replicas = self._replicas()
        if not found:
            return models.Replication(
                role='source' if self._read_role()['source'] else 'single',
                position=position,
                read_only=bool(read_only),
                replicas=replicas,
            )
        running = found['Slave_IO_Running'], found['Slave_SQL_Running']
        return models.Replication(
            role='replica',
            running=running == ('Yes', 'Yes'),
            lag=found['Seconds_Behind_Master'],
            source=f'{found["Master_Host"]}:{found["Master_Port"]}',
            position=position,
            read_only=bool(read_only),
            replicas=replicas,
            error=_error(found),
        )

    def enable_source(self) -> bool:
        """Have changes logged; a restart is needed where they are not yet."""
        self._change(source=True, binlog=True)
        return not self._row('SELECT @@log_bin')[0]

    def replication_account(self) -> models.Source:
        """Make an account for one more replica."""
        name = f'{users.REPLICA}_{secrets.token_hex(4)}'
        password = secrets.token_urlsafe(24)
        account = f"{sql.identifier(name)}@'%'"
        hashed = sql.password_hash(password)
        self.changer.run(
            [
                f'CREATE USER {account} IDENTIFIED VIA mysql_native_password '
                f"USING '{hashed}'",
                f'GRANT REPLICATION SLAVE ON *.* TO {account}',
            ]
        )
        ((speaks_tls,),) = self.client.query('SELECT @@have_ssl')
        return models.Source(
            '',
            self.place.port,
            name,
            password,
            slot=name,
            tls=speaks_tls == 'YES',
            ca=certificates.signer(self.kept_tls()) if speaks_tls == 'YES' else '',
        )

    def attach(
        self, source: models.Source, context: extension.Context | None = None
    ) -> None:
        """Follow a source, from where the restored backup ends or this server is."""
        if source.position and not _POSITION.match(source.position):
            raise errors.InvalidArgument(f'position: {source.position!r} is no GTID')
        before = self._read_role()
        self._change(source=False, binlog=True, read_only=True)
        try:
            self.changer.run(['SET GLOBAL read_only = 1', 'STOP SLAVE'])
            self._begin_at(source.position)
            self._name_source(source)
            self.changer.run(['START SLAVE'])
            self._wait_connected()
        except errors.GuestAgentError:
            self.changer.run(['STOP SLAVE', 'RESET SLAVE ALL'])
            self._write_role(before)
            self.changer.run([f'SET GLOBAL read_only = {before["read_only"]:d}'])
            raise
        self.restored.unlink(missing_ok=True)

    def detach(self, for_failover: bool) -> dict[str, Any]:
        """Follow no more, and take writes.

        :raises guestagent.errors.GuestError: with ``for_failover``, what was received
            could not be applied; it goes on following.
        """
        found = self._follows()
        if not found:
            raise errors.GuestError('this server is no replica')
        if for_failover:
            self.changer.run(['STOP SLAVE IO_THREAD'])
            try:
                self.wait_for(self._follows()['Gtid_IO_Pos'], APPLY_SECONDS)
            except errors.GuestAgentError:
                self.changer.run(['START SLAVE IO_THREAD'])
                raise
        self.changer.run(['STOP SLAVE', 'RESET SLAVE ALL'])
        self.set_read_only(False)
        if not self._replicas():
            # Those of the old source have come with its data.
            self._drop_accounts(self._accounts())
        return {'slot': found['Master_User']}

    def forget_replica(self, info: Mapping[str, Any]) -> None:
        """Delete the account of a replica."""
        name = info.get('slot')
        if not isinstance(name, str) or not name.startswith(f'{users.REPLICA}_'):
            raise errors.InvalidArgument(f'info: {name!r} is no account of a replica')
        self._drop_accounts([name])

    def demote(self) -> None:
        """Take no writes, and delete the accounts of replicas."""
        self.set_read_only(True)
        self._change(source=False)
        self._drop_accounts(self._accounts())

    def set_read_only(self, read_only: bool) -> None:
        """Refuse writes of all but root, also after a restart; or take them again."""
        self._change(read_only=read_only)
        self.changer.run([f'SET GLOBAL read_only = {read_only:d}'])

    def last_transaction(self) -> models.Transaction:
        """Return the last transaction that is here.

        Of a replica that goes by files, the place in the source's file.
        """
        found = self._follows()
        position, own = self._row('SELECT @@gtid_current_pos, @@server_id')
        source = str(found['Master_Server_Id'] if found else own)
        if found and found['Using_Gtid'] == 'No':
            number = found['Relay_Master_Log_File'].rpartition('.')[2] or '0'
            return models.Transaction(
                source, (int(number) << 40) + found['Exec_Master_Log_Pos']
            )
        numbers = re.findall(r'\d+-\d+-(\d+)', position)
        return models.Transaction(source, sum(map(int, numbers)))

    def position(self) -> str:
        """Return the GTID position; ``''``: nothing was ever logged."""
        return str(self._row('SELECT @@gtid_current_pos')[0])

    def wait_for(self, position: str, seconds: float) -> None:
        """Wait until a replica has applied all up to ``position``."""
        if not position:
            return
        if not _POSITION.match(position):
            raise errors.InvalidArgument(f'position: {position!r} is no GTID')
        waiter = client.Client(self.socket, seconds + 5)
        try:
            ((result,),) = waiter.query(
                'SELECT MASTER_GTID_WAIT(%s, %s)', position, seconds
            )
        finally:
            waiter.close()
        if result != 0:
            raise errors.CommandTimeout(
                f'{position} was not applied within {seconds:g} s'
            )

    def _accounts(self) -> list[str]:
        """Return the accounts of replicas."""
        statement = 'SELECT User FROM mysql.user WHERE User LIKE %s'
        return [name for (name,) in self.client.query(statement, users.REPLICA_PATTERN)]

    def _drop_accounts(self, names: Sequence[str]) -> None:
        """Delete accounts of replicas, here alone."""
        drop = [f"DROP USER IF EXISTS {sql.identifier(name)}@'%'" for name in names]
        self.changer.run(
            ['SET SESSION sql_log_bin = 0', *drop, 'SET SESSION sql_log_bin = 1']
        )

    def _replicas(self) -> int:
        """Return how many replicas are connected."""
        statement = (
            'SELECT COUNT(*) FROM information_schema.processlist '
            "WHERE COMMAND = 'Binlog Dump'"
        )
        return int(self._row(statement)[0])

    def _name_source(self, source: models.Source) -> None:
        """Say whom to follow, past the server's logs: they would hold the password."""
        quiet = client.Client(self.socket)
        try:
            quiet.run(['SET SESSION sql_log_off = 1, SESSION slow_query_log = 0'])
            quiet.query(
                'CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, '
                'MASTER_USER = %s, MASTER_PASSWORD = %s, MASTER_CONNECT_RETRY = 5, '
                'MASTER_USE_GTID = slave_pos, MASTER_SSL = %s, MASTER_SSL_CA = %s, '
                # Its name is another matter: it is known by its address.
                'MASTER_SSL_VERIFY_SERVER_CERT = 0',
                source.host,
                source.port,
                source.user,
                source.password,
                int(source.tls or bool(source.ca)),
                self._keep_ca(source.ca),
            )
        finally:
            quiet.close()

    def _keep_ca(self, text: str) -> str:
        """Write what the source's certificate is checked against; return its path."""
        path = self.file('source-ca.crt')
        files.write(path, text, 0o644)
        return str(path) if text else ''

    def _begin_at(self, position: str) -> None:
        """Set from where to follow."""
        if position or self.restored.exists():
            position = position or files.read(self.restored)
            # What this server has logged by itself is not the source's.
            self.changer.run(['RESET MASTER'])
            self.client.query('SET GLOBAL gtid_slave_pos = %s', position)
        else:
            self.changer.run(['SET GLOBAL gtid_slave_pos = @@gtid_current_pos'])

    def _wait_connected(self) -> None:
        until = time.monotonic() + CONNECT_SECONDS
        while True:
            found = self._follows()
            if found['Slave_IO_Running'] == found['Slave_SQL_Running'] == 'Yes':
                return
            if (error := _error(found)) or time.monotonic() > until:
                raise errors.GuestError(
                    f'MariaDB cannot follow: {error or "the source does not answer"}'
                )
            time.sleep(0.1)

    def _follows(self) -> dict[str, Any]:
        """Return how this replica is; empty: it is none."""
        rows = self.client.named('SHOW SLAVE STATUS')
        return rows[0] if rows else {}

    def _row(self, statement: str) -> client.Row:
        return self.client.query(statement)[0]

    @property
    def _role_file(self) -> pathlib.Path:
        return self.place.state / 'replication.json'

    def _read_role(self) -> dict[str, bool]:
        """Return what this server is: ``{source, binlog, read_only}``."""
        kept: dict[str, bool] = json.loads(files.read(self._role_file) or '{}')
        return {'source': False, 'binlog': False, 'read_only': False} | kept

    def _change(self, **changes: bool) -> None:
        self._write_role(self._read_role() | changes)

    def _write_role(self, kept: dict[str, bool]) -> None:
        files.write(self._role_file, json.dumps(kept), 0o600)
        text = TEXT.format(
            server_id=self._server_id(), read_only=int(kept['read_only'])
        )
        files.write(
            self.file(server.REPLICATION), text + (BINLOG if kept['binlog'] else '')
        )

    def _server_id(self) -> int:
        """Return the server's number; not from the volume, which may be cloned."""
        path = self.file('server_id')
        if not path.exists():
            files.write(path, str(secrets.randbelow(2**32 - 2) + 1))
        return int(files.read(path))


def _error(found: Mapping[str, Any]) -> str:
    return found['Last_IO_Error'] or found['Last_SQL_Error'] or ''
