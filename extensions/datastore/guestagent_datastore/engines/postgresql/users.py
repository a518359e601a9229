# SPDX-License-Identifier: Apache-2.0
"""Users: roles that may log in.

A role has one host at most, from where it may come.  The server keeps it in the role's
comment, so that replicas and restored backups know it, and pg_hba.conf is made of that.
A password never gets to the server: it gets the verifier of SCRAM-SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.postgresql import (
    client,
    databases,
    hba,
    names,
    paging,
    server,
)

#: All users with their hosts and the databases that they may use.  Rights in a database
#: come from its owner's role, or as other agents gave them.
_USERS = """
SELECT name, host, databases FROM (
  SELECT rolname::text AS name,
    CASE WHEN starts_with(comment, %s) THEN substr(comment, %s) ELSE '%%' END AS host,
    ARRAY(
      SELECT d.datname::text FROM pg_database d
      WHERE NOT d.datistemplate AND d.datname <> ALL (%s) AND (
        d.datdba = r.oid
        OR EXISTS (SELECT 1 FROM pg_auth_members m
          WHERE m.member = r.oid AND m.roleid = d.datdba)
        OR EXISTS (SELECT 1 FROM aclexplode(d.datacl) a
          WHERE a.grantee = r.oid AND a.privilege_type = 'CREATE'))
      ORDER BY d.datname::text COLLATE "C") AS databases
  FROM (SELECT oid, rolname, rolcanlogin,
      shobj_description(oid, 'pg_authid') AS comment FROM pg_roles) AS r
  WHERE rolcanlogin AND rolname <> ALL (%s)) AS u
"""


class Users(databases.Databases):
    """What has to do with users."""

    def list_users(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.User]:
        """Return users in the order of the bytes of ``name@host``."""
        found = self._users(
            'WHERE %s IS NULL OR name || \'@\' || host COLLATE "C" '
            f'{paging.comparison(include_marker)} %s '
            'ORDER BY name || \'@\' || host COLLATE "C" LIMIT %s',
            [marker, marker, paging.rows(limit)],
        )
        return paging.page(found, limit, lambda user: f'{user.name}@{user.host}')

    def get_user(self, name: str, host: str) -> models.User | None:
        """Return one user; the host ``%`` stands for whatever host it has."""
        self.check_user(name)
        return self._find(name, host)

    def create_users(self, users: Sequence[models.User]) -> None:
        """Make users, or give those that are there this password and these databases.

        :raises guestagent.errors.InvalidArgument: a name, host or password cannot be
            one, a database is not there, or the user is there with another host.
        """
        for user in users:
            self._check_new(user)
        for user in users:
            with self.client.session() as session:
                for name in user.databases:
                    self.database_number(session, name)
                self._create(session, user)
                for name in user.databases:
                    self._grant(session, user.name, name)
        if any(user.host != names.ANYWHERE for user in users):
            self.write_hosts()

    def delete_user(self, name: str, host: str) -> None:
        """End a user's sessions and drop it; others inherit what it owned."""
        user = self._get(name, host)
        with self.client.session() as session:
            session.query('ALTER ROLE {} NOLOGIN', names=[name])
            self.terminate('usename = %s', name)
            self.drop_role(session, name)
        if user.host != names.ANYWHERE:
            self.write_hosts()

    def update_user(self, name: str, host: str, change: models.UserChange) -> None:
        """Change a user's name, host or password; its grants stay."""
        user = self._get(name, host)
        new = name if change.name is None else change.name
        self.check_user(new)
        hba.check(new, user.host if change.host is None else change.host)
        if change.password is not None:
            names.check_password(change.password)
        if new != name and self._find(new, names.ANYWHERE):
            raise errors.InvalidArgument(f'there is a user {new!r} already')
        with self.client.session() as session, session.transaction():
            if new != name:
                session.query('ALTER ROLE {} RENAME TO {}', names=[name, new])
            if change.password is not None:
                _set_password(session, new, change.password)
            if change.host is not None:
                _set_host(session, new, change.host)
        self.write_hosts()

    def grant(self, name: str, host: str, databases: Sequence[str]) -> None:
        """Let a user do everything in these databases."""
        self._get(name, host)
        with self.client.session() as session:
            for database in databases:
                self.database_number(session, database)
            for database in databases:
                self._grant(session, name, database)

    def revoke(self, name: str, host: str, database: str) -> None:
        """Take a user's rights in a database away, and end its sessions there."""
        self._get(name, host)
        with self.client.session() as session:
            owner = self.adopt(session, database)
            with session.transaction():
                session.query('REVOKE {} FROM {}', names=[owner, name])
                session.query(
                    'ALTER ROLE {} IN DATABASE {} RESET role', names=[name, database]
                )
                session.query(
                    'REVOKE ALL ON DATABASE {} FROM {}', names=[database, name]
                )
        self.terminate('usename = %s AND datname = %s', name, database)

    def check_user(self, name: str) -> None:
        """Refuse a name that cannot be one of a caller's users.

        :raises guestagent.errors.InvalidArgument: says why.
        """
        names.check('user', name)
        if (
            name in self.reserved_users
            or name.startswith(('pg_', databases.OWNER_PREFIX))
            or name in ('public', 'none')
        ):
            raise errors.InvalidArgument(f"user: {name!r} is the server's own")

    def _check_new(self, user: models.User) -> None:
        self.check_user(user.name)
        hba.check(user.name, user.host)
        present = self._find(user.name, names.ANYWHERE)
        if user.password is not None:
            names.check_password(user.password)
        elif present is None:
            raise errors.InvalidArgument(f'user {user.name!r}: a password is needed')
        if present is not None and present.host != user.host:
            raise errors.InvalidArgument(
                f'there is a user {user.name!r} already, with the host '
                f'{present.host!r}: a user of PostgreSQL has one'
            )

    def _create(self, session: client.Session, user: models.User) -> None:
        with session.transaction():
            if not self._exists(session, user.name):
                session.query('CREATE ROLE {} LOGIN', names=[user.name])
                _set_host(session, user.name, user.host)
            if user.password is not None:
                _set_password(session, user.name, user.password)

    def _exists(self, session: client.Session, name: str) -> bool:
        rows = session.query(
            'SELECT rolcanlogin FROM pg_roles WHERE rolname = %s', [name]
        )
        if rows and not rows[0][0]:
            raise errors.InvalidArgument(f'{name!r} is a role that cannot log in')
        return bool(rows)

    def _grant(self, session: client.Session, user: str, database: str) -> None:
        owner = self.adopt(session, database)
        with session.transaction():
            session.query('GRANT {} TO {}', names=[owner, user])
            session.query(
                'ALTER ROLE {} IN DATABASE {} SET role = %s', [owner], [user, database]
            )

    def _get(self, name: str, host: str) -> models.User:
        user = self.get_user(name, host)
        if user is None:
            raise errors.InvalidArgument(f'there is no user {name!r} at {host!r}')
        return user

    def _find(self, name: str, host: str) -> models.User | None:
        for user in self._users('WHERE name = %s', [name]):
            if host in (names.ANYWHERE, user.host):
                return user
        return None

    def _users(self, condition: str, values: Sequence[object]) -> list[models.User]:
        rows = self.client.query(
            _USERS + condition,
            [
                server.HOST_MARK,
                len(server.HOST_MARK) + 1,
                sorted(self.reserved_databases),
                sorted(self.reserved_users),
                *values,
            ],
        )
        return [
            models.User(name, host, databases=tuple(allowed))
            for name, host, allowed in rows
        ]


def _set_password(session: client.Session, name: str, password: str) -> None:
    session.query(
        'ALTER ROLE {} PASSWORD %s', [session.verifier(password, name)], [name]
    )


def _set_host(session: client.Session, name: str, host: str) -> None:
    comment = None if host == names.ANYWHERE else server.HOST_MARK + host
    session.query('COMMENT ON ROLE {} IS %s', [comment], [name])
