# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL server as a process: its start, whether it serves, and its end."""

from __future__ import annotations

import re

from guestagent import errors
from guestagent_datastore import files, models
from guestagent_datastore.engines.postgresql import client, layout, names, probe
from guestagent_datastore.services import peer

#: In front of the host in a role's comment.
HOST_MARK = 'guestagent: host='


class Server(layout.Layout):
    """What has to do with the process."""

    def server_command(self) -> models.Command:
        """Return postgres with our files."""
        values = {
            'config_file': self.file('postgresql.conf'),
            'hba_file': self.file('pg_hba.conf'),
            'ident_file': self.file('pg_ident.conf'),
            'listen_addresses': self.place.listen if self.place.port else '',
            'port': self.number,
            'unix_socket_directories': self.place.run,
        }
        words = [word for name in values for word in ('-c', f'{name}={values[name]}')]
        return models.Command(
            (self.program('postgres'), '-D', str(self.place.data), *words),
            user=self.place.user,
            folder=self.place.data,
        )

    def ready(self) -> models.State:
        """Ask it for a number."""
        self.client.expire()
        try:
            return probe.ask(self.socket, client.ADMIN)
        except probe.Refused:
            pass
        try:
            return probe.ask(self.socket, client.BOOTSTRAP)
        except probe.Refused:
            return 'running'

    def server_pid(self) -> int:
        """Return who listens on the socket."""
        return peer.listener(self.socket)

    def last_words(self) -> str:
        """Return the errors at the end of its log."""
        lines = files.tail(self.place.logs / 'postgresql.log')
        lines += files.tail(self.place.logs / 'output.log')
        found = re.findall(r'(?:FATAL|PANIC):  (.*)', '\n'.join(lines))
        return '; '.join(found[-3:])

    def close(self) -> None:
        """Let go of the session that is kept."""
        self.client.close()

    def secure(self) -> None:
        """Make our own administrator; take from everybody what is nobody's.

        A replica has all that from its source.
        """
        with self.client.as_bootstrap() as session:
            replica = session.value('SELECT pg_is_in_recovery()')
            if not replica:
                _make_administrator(session)
        if not replica:
            for database in ('postgres', 'template1'):
                with self.client.session(database) as session:
                    session.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC')
        files.write(self.file(layout.RECOVERY), '')
        self.write_hosts()

    def write_hosts(self) -> None:
        """Have the server let users in from where they may come, and from nowhere else.

        What it keeps with its users counts.
        """
        rows = self.client.query(
            'SELECT rolname::text, host FROM (SELECT rolname, '
            "substr(shobj_description(oid, 'pg_authid'), %s) AS host, "
            "shobj_description(oid, 'pg_authid') AS comment FROM pg_roles) AS r "
            'WHERE starts_with(comment, %s)',
            [len(HOST_MARK) + 1, HOST_MARK],
        )
        state = self.recall()
        state.hosts = {name: host for name, host in rows if _is_host(host)}
        self.keep(state)
        self.reload()

    def reload(self) -> None:
        """Have the server read its files, and wait until it has.

        :raises guestagent.errors.GuestError: it has not.
        """
        with self.client.session() as session:
            before = session.value('SELECT pg_conf_load_time()')
            session.query('SELECT pg_reload_conf()')
            for _ in range(1000):
                if session.value('SELECT pg_conf_load_time()') != before:
                    return
                session.query('SELECT pg_sleep(0.03)')
        raise errors.GuestError('PostgreSQL does not read its files again')

    def terminate(self, condition: str, *values: object) -> None:
        """End the sessions of others that fit a condition on ``pg_stat_activity``."""
        self.client.query(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE '
            f"pid <> pg_backend_pid() AND backend_type = 'client backend' AND "
            f'{condition}',
            values,
        )


def _make_administrator(session: client.Session) -> None:
    if not session.query('SELECT 1 FROM pg_roles WHERE rolname = %s', [client.ADMIN]):
        session.query('CREATE ROLE {}', names=[client.ADMIN])
    session.query('ALTER ROLE {} SUPERUSER LOGIN PASSWORD NULL', names=[client.ADMIN])
    session.query('REVOKE CONNECT ON DATABASE template1 FROM PUBLIC')


def _is_host(host: str) -> bool:
    """Whether it can be written: the comment may be anybody's."""
    try:
        return names.address(host) != 'all'
    except errors.InvalidArgument:
        return False
