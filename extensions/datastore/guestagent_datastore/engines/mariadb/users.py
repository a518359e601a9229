# SPDX-License-Identifier: Apache-2.0
"""Users of MariaDB, their rights and passwords, and root.

The server is given the hash of a password, never the text: so it stands in none of the
server's logs either.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.mariadb import client, databases, paging, sql

#: What the names of the accounts of replicas begin with, and a pattern of these.
REPLICA = 'guestagent_replica'
REPLICA_PATTERN = REPLICA.replace('_', r'\_') + '%'

_USERS = """\
SELECT User, Host FROM mysql.user
WHERE is_role = 'N' AND User NOT IN %s AND User NOT LIKE %s AND {condition}
ORDER BY """ + paging.ordered("CONCAT(User, '@', Host)")

#: Roots of whom the server does not know that they are the system's.
_ROOT = """\
SELECT User, Host FROM mysql.user
WHERE User = 'root' AND is_role = 'N'
AND NOT (Host = 'localhost' AND plugin = 'unix_socket')"""


class Users(databases.Databases):
    """Lists, makes, changes and deletes users."""

    reserved_users = frozenset(('', 'root', 'mariadb.sys'))

    def list_users(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.User]:
        """Return users with their databases."""
        after, value = paging.after(marker, include_marker, "CONCAT(User, '@', Host)")
        found = self._users(
            paging.limited(_USERS.format(condition=after), limit), *value
        )
        return paging.page(found, limit, lambda user: f'{user.name}@{user.host}')

    def get_user(self, name: str, host: str) -> models.User | None:
        """Return one user with its databases."""
        if name in self._hidden():
            return None
        statement = _USERS.format(condition='User = %s AND Host = %s')
        found = self._users(statement, name, host.lower())
        return found[0] if found else None

    def create_users(self, users: Sequence[models.User]) -> None:
        """Make users; all is checked before the first one is made."""
        statements: list[str] = []
        for user in users:
            account = self._account(user.name, user.host)
            if user.password is None:
                raise errors.InvalidArgument(f'password: {user.name!r} has none')
            hashed = sql.password_hash(user.password)
            statements += (
                f'CREATE USER IF NOT EXISTS {account} {_identified(hashed)}',
                f'ALTER USER {account} {_identified(hashed)}',
                *self._grants(account, user.databases),
            )
        self.changer.run(statements)

    def delete_user(self, name: str, host: str) -> None:
        """Delete a user."""
        self.changer.run([f'DROP USER {self._present(name, host)}'])

    def update_user(self, name: str, host: str, change: models.UserChange) -> None:
        """Change a user's name, host or password."""
        before = self._present(name, host)
        now = self._account(
            name if change.name is None else change.name,
            host if change.host is None else change.host,
        )
        statements = []
        if now != before:
            if self._exists(change.name or name, change.host or host):
                raise errors.InvalidArgument(f'user: {now} is there already')
            statements.append(f'RENAME USER {before} TO {now}')
        if change.password is not None:
            hashed = sql.password_hash(change.password)
            statements.append(f'ALTER USER {now} {_identified(hashed)}')
        self.changer.run(statements)

    def grant(self, name: str, host: str, databases: Sequence[str]) -> None:
        """Let a user do everything in these databases."""
        self.changer.run(self._grants(self._present(name, host), databases))

    def revoke(self, name: str, host: str, database: str) -> None:
        """Take a user's rights in a database away."""
        account = self._present(name, host)
        pattern = sql.pattern(self.check_database(database))
        user = self.get_user(name, host)
        if user is None or database not in user.databases:
            raise errors.InvalidArgument(f'{account} has no rights in {database!r}')
        self.changer.run([f'REVOKE ALL PRIVILEGES ON {pattern}.* FROM {account}'])

    def enable_root(self, password: str) -> models.Root:
        """Make root anew, from everywhere, with this password."""
        hashed = sql.password_hash(password)
        self.changer.run(
            [
                f"CREATE OR REPLACE USER 'root'@'%' {_identified(hashed)}",
                "GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION",
            ]
        )
        return models.Root('root', password)

    def disable_root(self) -> None:
        """Delete each root but the one of the system's root."""
        self.changer.run(
            [f'DROP USER {_name(*row)}' for row in self.client.query(_ROOT)]
        )

    def root_enabled(self) -> bool:
        """Whether there is a root who is not the system's."""
        return bool(self.client.query(_ROOT))

    def _users(self, statement: str, *values: str) -> list[models.User]:
        rows = self.client.query(statement, self._hidden(), REPLICA_PATTERN, *values)
        rights: dict[tuple[str, str], list[str]] = {row: [] for row in rows}
        if rights:
            granted = self.client.query(
                'SELECT User, Host, Db FROM mysql.db WHERE (User, Host) IN %s '
                'ORDER BY Db',
                tuple(rights),
            )
            for name, host, pattern in granted:
                rights[name, host].append(sql.from_pattern(pattern))
        return [
            models.User(name, host, databases=tuple(found))
            for (name, host), found in rights.items()
        ]

    def _hidden(self) -> tuple[str, ...]:
        return (*sorted(self.reserved_users), client.administrator())

    def _account(self, name: str, host: str) -> str:
        """Return a user that callers may change, as statements have it."""
        sql.check_user(name)
        if name in self._hidden() or name.startswith(REPLICA):
            raise errors.InvalidArgument(f"user: {name!r} is the server's own")
        return _name(name, sql.check_host(host))

    def _present(self, name: str, host: str) -> str:
        account = self._account(name, host)
        if not self._exists(name, host):
            raise errors.InvalidArgument(f'user: there is no {account}')
        return account

    def _exists(self, name: str, host: str) -> bool:
        return bool(
            self.client.query(
                'SELECT 1 FROM mysql.user WHERE User = %s AND Host = %s',
                name,
                host.lower(),
            )
        )

    def _grants(self, account: str, names: Sequence[str]) -> list[str]:
        return [
            f'GRANT ALL PRIVILEGES ON {sql.pattern(self.check_database(name))}.* '
            f'TO {account}'
            for name in names
        ]


def _name(name: str, host: str) -> str:
    return f'{sql.identifier(name)}@{sql.identifier(host)}'


def _identified(hashed: str) -> str:
    return f"IDENTIFIED VIA mysql_native_password USING '{hashed}'"
