# SPDX-License-Identifier: Apache-2.0
"""Databases, each with a role of its own that owns it and all that is in it.

Users that may use a database are members of that role, and take its part when they log
in to the database: so what one of them makes belongs to all of them.  Nobody else may
even connect to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.postgresql import client, names, paging, server

#: In front of a database's number in the name of the role that owns it.
OWNER_PREFIX = 'guestagent_db_'


class Databases(server.Server):
    """What has to do with databases."""

    def list_databases(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.Database]:
        """Return databases in the order of their names' bytes."""
        rows = self.client.query(
            'SELECT datname::text, pg_encoding_to_char(encoding)::text, '
            'datcollate::text FROM pg_database WHERE NOT datistemplate '
            'AND datname <> ALL (%s) AND (%s IS NULL OR '
            f'datname::text COLLATE "C" {paging.comparison(include_marker)} %s) '
            'ORDER BY datname::text COLLATE "C" LIMIT %s',
            [sorted(self.reserved_databases), marker, marker, paging.rows(limit)],
        )
        return paging.page(
            [models.Database(*row) for row in rows], limit, lambda x: x.name
        )

    def create_databases(self, databases: Sequence[models.Database]) -> None:
        """Make databases; those that are there stay as they are.

        :raises guestagent.errors.InvalidArgument: a name cannot be one, or is ours.
        """
        for database in databases:
            self.check_database(database.name)
        with self.client.session() as session:
            for database in databases:
                if not _number(session, database.name):
                    _create(session, database)
                self.adopt(session, database.name)

    def delete_database(self, name: str) -> None:
        """Delete a database, whoever is connected to it, and the role that owns it."""
        self.check_database(name)
        with self.client.session() as session:
            number = self.database_number(session, name)
            session.query('DROP DATABASE {} WITH (FORCE)', names=[name])
            self.drop_role(session, f'{OWNER_PREFIX}{number}')

    def check_database(self, name: str) -> None:
        """Refuse a name that cannot be one of a caller's databases.

        :raises guestagent.errors.InvalidArgument: says why.
        """
        names.check('database', name)
        if name in self.reserved_databases:
            raise errors.InvalidArgument(f"database: {name!r} is the server's own")

    def database_number(self, session: client.Session, name: str) -> int:
        """Return the OID of a database.

        :raises guestagent.errors.InvalidArgument: there is none of this name.
        """
        self.check_database(name)
        number = _number(session, name)
        if not number:
            raise errors.InvalidArgument(f'there is no database {name!r}')
        return number

    def adopt(self, session: client.Session, name: str) -> str:
        """Return the role that owns a database, which is made to be so if need be."""
        owner = f'{OWNER_PREFIX}{self.database_number(session, name)}'
        present = session.value(
            'SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = %s',
            [name],
        )
        if present == owner:
            return owner
        with session.transaction():
            if not session.query('SELECT 1 FROM pg_roles WHERE rolname = %s', [owner]):
                session.query('CREATE ROLE {} NOLOGIN', names=[owner])
            session.query('ALTER DATABASE {} OWNER TO {}', names=[name, owner])
        with self.client.session(name) as inside:
            if inside.query("SELECT 1 FROM pg_namespace WHERE nspname = 'public'"):
                inside.query('ALTER SCHEMA public OWNER TO {}', names=[owner])
        return owner

    def drop_role(self, session: client.Session, name: str) -> None:
        """Drop a role; what it owns goes to the owners of the databases it is in."""
        if not session.query('SELECT 1 FROM pg_roles WHERE rolname = %s', [name]):
            return
        owned = session.query(
            'SELECT datname::text FROM pg_database d JOIN pg_roles r ON r.oid = datdba '
            'WHERE rolname = %s',
            [name],
        )
        for (database,) in owned:
            self.adopt(session, database)
        places = session.query(
            'SELECT DISTINCT datname::text FROM pg_shdepend s '
            'JOIN pg_database d ON d.oid = dbid JOIN pg_roles r ON r.oid = refobjid '
            "WHERE refclassid = 'pg_authid'::regclass AND rolname = %s "
            'AND datallowconn',
            [name],
        )
        for (database,) in [*places, ('postgres',)]:
            with self.client.session(database) as inside:
                heir = client.ADMIN
                if database not in self.reserved_databases:
                    heir = self.adopt(session, database)
                inside.query('REASSIGN OWNED BY {} TO {}', names=[name, heir])
                inside.query('DROP OWNED BY {}', names=[name])
        session.query('DROP ROLE {}', names=[name])


def _number(session: client.Session, name: str) -> int:
    return int(
        session.value('SELECT oid FROM pg_database WHERE datname = %s', [name]) or 0
    )


def _create(session: client.Session, database: models.Database) -> None:
    words, values = ['TEMPLATE template0'], []
    if database.character_set:
        words.append('ENCODING %s')
        values.append(database.character_set)
    if database.collate:
        words += ['LC_COLLATE %s', 'LC_CTYPE %s']
        values += [database.collate] * 2
    session.query(
        f'CREATE DATABASE {{}} WITH {" ".join(words)}', values, [database.name]
    )
    session.query('REVOKE ALL ON DATABASE {} FROM PUBLIC', names=[database.name])
