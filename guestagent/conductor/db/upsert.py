# SPDX-License-Identifier: Apache-2.0
"""Insert rows or update those that are there: the one thing that dialects differ in."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

#: What SQLAlchemy calls MariaDB, by the URL that it was given.
MARIADB = ('mysql', 'mariadb')


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    keys: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write ``rows``; where one with the same ``keys`` is there, it takes the values.

    All rows have the same columns, and no two have the same keys.
    """
    if rows:
        columns = tuple(name for name in rows[0] if name not in keys)
        connection.execute(
            _statement(connection.dialect.name, table, keys, columns), rows
        )


def insert_missing(
    connection: sa.Connection,
    table: sa.Table,
    keys: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write ``rows`` but for those whose ``keys`` are there already."""
    if rows:
        connection.execute(_statement(connection.dialect.name, table, keys, ()), rows)


@functools.cache
def _statement(
    dialect: str, table: sa.Table, keys: tuple[str, ...], columns: tuple[str, ...]
) -> sa.Insert:
    """Return the statement that updates ``columns``, or nothing when it has none."""
    if dialect in MARIADB:
        insert = mysql.insert(table)
        # INSERT IGNORE would let errors pass too; a key set to itself does nothing.
        return insert.on_duplicate_key_update(
            {name: insert.inserted[name] for name in columns or keys[:1]}
        )
    # Both have the same words for it, in classes of their own.
    other: Any = {'postgresql': postgresql, 'sqlite': sqlite}[dialect].insert(table)
    if columns:
        return other.on_conflict_do_update(
            index_elements=keys, set_={name: other.excluded[name] for name in columns}
        )
    return other.on_conflict_do_nothing(index_elements=keys)
