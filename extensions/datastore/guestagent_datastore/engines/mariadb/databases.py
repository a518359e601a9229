# SPDX-License-Identifier: Apache-2.0
"""Databases in MariaDB."""

from __future__ import annotations

from collections.abc import Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.mariadb import paging, server, sql

#: What the server has for itself.
RESERVED = ('information_schema', 'mysql', 'performance_schema', 'sys')

_LIST = """\
SELECT schema_name, default_character_set_name, default_collation_name
FROM information_schema.schemata
WHERE schema_name NOT IN %s AND {after}
ORDER BY {order}"""


class Databases(server.Server):
    """Lists, makes and deletes databases."""

    reserved_databases = frozenset(RESERVED)

    def list_databases(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.Database]:
        """Return databases by name."""
        order = paging.ordered('schema_name')
        after, value = paging.after(marker, include_marker, 'schema_name')
        statement = paging.limited(_LIST.format(after=after, order=order), limit)
        rows = self.client.query(statement, RESERVED, *value)
        items = [models.Database(*row) for row in rows]
        return paging.page(items, limit, lambda item: item.name)

    def create_databases(self, databases: Sequence[models.Database]) -> None:
        """Make databases; all names are checked before the first one is made."""
        self.changer.run([self._create(database) for database in databases])

    def delete_database(self, name: str) -> None:
        """Delete a database with all that is in it."""
        self.check_database(name)
        self.changer.run([f'DROP DATABASE {sql.identifier(name)}'])

    def check_database(self, name: str) -> str:
        """Return the name of a database that callers may change.

        :raises guestagent.errors.InvalidArgument: it is the server's own, or no name.
        """
        sql.check_database(name)
        if name.lower() in self.reserved_databases or name.startswith('#mysql50#'):
            raise errors.InvalidArgument(f"database: {name!r} is the server's own")
        return name

    def _create(self, database: models.Database) -> str:
        self.check_database(database.name)
        words = [f'CREATE DATABASE IF NOT EXISTS {sql.identifier(database.name)}']
        if database.character_set:
            word = sql.check_word('character_set', database.character_set)
            words.append(f'CHARACTER SET {word}')
        if database.collate:
            words.append(f'COLLATE {sql.check_word("collate", database.collate)}')
        return ' '.join(words)
