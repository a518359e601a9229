# SPDX-License-Identifier: Apache-2.0
"""Write many rows at once: the one thing that dialects differ in.

SQLite takes rows one by one and loses nothing by it, for MariaDB the driver makes one
statement of them, and PostgreSQL is given each column as one array.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

#: What SQLAlchemy calls MariaDB, by the URL that it was given.
MARIADB = ('mysql', 'mariadb')

Rows = Sequence[Mapping[str, Any]]


def upsert(
    connection: sa.Connection, table: sa.Table, keys: tuple[str, ...], rows: Rows
) -> None:
    """Write ``rows``; where one with the same ``keys`` is there, it takes the values.

    All rows have the same columns, and no two have the same keys.
    """
    if rows:
        changed = tuple(name for name in rows[0] if name not in keys)
        _execute(connection, table, keys, changed, rows)


def insert_missing(
    connection: sa.Connection, table: sa.Table, keys: tuple[str, ...], rows: Rows
) -> None:
    """Write ``rows`` but for those whose ``keys`` are there already."""
    if rows:
        _execute(connection, table, keys, (), rows)


def update(
    connection: sa.Connection,
    table: sa.Table,
    keys: tuple[str, ...],
    changed: tuple[str, ...],
    every: tuple[str, ...],
    records: Sequence[object],
) -> None:
    """Write the columns ``changed`` of rows that are all there.

    :param every: all columns that must not be NULL, and others.
    :param records: have the columns as attributes.
    """
    if not records:
        return
    if connection.dialect.name == 'postgresql':
        names = (*keys, *changed)
        columns = zip(*map(operator.attrgetter(*names), records), strict=True)
        connection.execute(
            _update(table, keys, names, changed),
            {
                f'all_{name}': list(column)
                for name, column in zip(names, columns, strict=True)
            },
        )
        return
    # The others have no such statement; their insert does it, given complete rows.
    values = operator.attrgetter(*every)
    connection.execute(
        _insert(connection.dialect.name, table, keys, every, changed),
        [dict(zip(every, values(record), strict=True)) for record in records],
    )


def among(
    connection: sa.Connection, column: sa.Column[str], values: Iterable[str]
) -> sa.ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``values``.

    On PostgreSQL they are one parameter, so that the statement is always the same.
    """
    if connection.dialect.name != 'postgresql':
        return column.in_(list(values))
    array = sa.bindparam(None, list(values), type_=postgresql.ARRAY(column.type))
    return column == sa.func.any(array)


def _execute(
    connection: sa.Connection,
    table: sa.Table,
    keys: tuple[str, ...],
    changed: tuple[str, ...],
    rows: Rows,
) -> None:
    names = tuple(rows[0])
    statement = _insert(connection.dialect.name, table, keys, names, changed)
    if connection.dialect.name == 'postgresql':
        columns = {f'all_{name}': [row[name] for row in rows] for name in names}
        connection.execute(statement, columns)
    else:
        connection.execute(statement, rows)


@functools.cache
def _insert(
    dialect: str,
    table: sa.Table,
    keys: tuple[str, ...],
    names: tuple[str, ...],
    changed: tuple[str, ...],
) -> sa.Insert:
    """Return the statement that inserts, or updates ``changed`` where a row is."""
    if dialect in MARIADB:
        insert = mysql.insert(table)
        # INSERT IGNORE would let errors pass too; a key set to itself does nothing.
        return insert.on_duplicate_key_update(
            {name: insert.inserted[name] for name in changed or keys[:1]}
        )
    other: Any = {'postgresql': postgresql, 'sqlite': sqlite}[dialect].insert(table)
    if dialect == 'postgresql':
        given = _unnest(table, names)
        other = other.from_select(names, sa.select(*(given.c[name] for name in names)))
    if changed:
        return other.on_conflict_do_update(
            index_elements=keys, set_={name: other.excluded[name] for name in changed}
        )
    return other.on_conflict_do_nothing(index_elements=keys)


@functools.cache
def _update(
    table: sa.Table,
    keys: tuple[str, ...],
    names: tuple[str, ...],
    changed: tuple[str, ...],
) -> sa.Update:
    """Return PostgreSQL's statement that updates from arrays."""
    given = _unnest(table, names)
    return (
        sa.update(table)
        .where(*(table.c[name] == given.c[name] for name in keys))
        .values({name: given.c[name] for name in changed})
    )


def _unnest(table: sa.Table, names: tuple[str, ...]) -> Any:
    """Return rows that are made of one array for each column."""
    arrays = (
        sa.bindparam(f'all_{name}', type_=postgresql.ARRAY(table.c[name].type))
        for name in names
    )
    columns = (sa.column(name, table.c[name].type) for name in names)
    return sa.func.unnest(*arrays).table_valued(*columns, name='given').render_derived()
