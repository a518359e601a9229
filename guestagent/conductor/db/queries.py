# SPDX-License-Identifier: Apache-2.0
"""Read what the conductor knows, as dictionaries that JSON carries.

Each function reads in one transaction.  Times in the answers are texts, ISO 8601 in
UTC.  All raise :class:`sqlalchemy.exc.SQLAlchemyError` when the database fails.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection
from typing import Any, TypeAlias

import sqlalchemy as sa

from guestagent.conductor.db import engine, tables

Record: TypeAlias = dict[str, Any]


def instances(
    database: engine.Database, state: str | None, marker: str | None, limit: int
) -> list[Record]:
    """Return instances in the order of their ids, those after ``marker``."""
    table = tables.instances
    query = sa.select(table).order_by(table.c.id).limit(limit)
    if state is not None:
        query = query.where(table.c.state == state)
    if marker is not None:
        query = query.where(table.c.id > marker)
    with database.reader.begin() as connection:
        rows = connection.execute(query).all()
        names = _extension_names(connection, [row.id for row in rows])
    return [{**_instance(row), 'extensions': names.get(row.id, [])} for row in rows]


def instance(database: engine.Database, name: str) -> Record | None:
    """Return an instance with all that its last heartbeat said."""
    table, extensions = tables.instances, tables.extensions
    with database.reader.begin() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == name)).first()
        if row is None:
            return None
        found = connection.execute(
            sa.select(extensions)
            .where(extensions.c.instance == name)
            .order_by(extensions.c.name)
        ).all()
    return {
        **_instance(row),
        'generation': row.heartbeat_generation,
        'interval': row.heartbeat_interval,
        'dropped': row.dropped,
        'extensions': {
            item.name: {
                'version': item.version,
                'health': item.health,
                'distribution': item.distribution,
                'distribution_version': item.distribution_version,
            }
            for item in found
        },
    }


def facts(database: engine.Database, name: str, prefix: str) -> Record | None:
    """Return an instance's facts by name, or ``None`` if there is no instance."""
    table = tables.facts
    with database.reader.begin() as connection:
        if not _exists(connection, name):
            return None
        rows = connection.execute(
            sa.select(table.c.name, table.c.value, table.c.updated)
            .where(table.c.instance == name, table.c.value.is_not(None))
            .order_by(table.c.name)
        ).all()
    # Not by LIKE: databases differ in what case means to it.
    return {
        row.name: {'value': json.loads(row.value), 'updated': _time(row.updated)}
        for row in rows
        if row.name.startswith(prefix)
    }


def command(
    database: engine.Database, name: str, command_id: str, caller: str | None
) -> Record | None:
    """Return the outcome of a command, the newest if several callers chose one id."""
    table = tables.commands
    query = (
        sa.select(table)
        .order_by(table.c.id.desc())
        .limit(1)
        .where(table.c.instance == name, table.c.command_id == command_id)
    )
    if caller is not None:
        query = query.where(table.c.caller == caller)
    with database.reader.begin() as connection:
        row = connection.execute(query).first()
    return None if row is None else _command(row)


def commands(
    database: engine.Database, name: str, marker: int | None, limit: int
) -> list[tuple[int, Record]] | None:
    """Return (id, outcome) of an instance's commands, the newest first.

    :param marker: only those before this id.
    :returns: ``None`` if there is no such instance.
    """
    table = tables.commands
    query = (
        sa.select(table)
        .where(table.c.instance == name)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    if marker is not None:
        query = query.where(table.c.id < marker)
    with database.reader.begin() as connection:
        if not _exists(connection, name):
            return None
        rows = connection.execute(query).all()
    return [(row.id, _command(row)) for row in rows]


def events(
    database: engine.Database, name: str | None, after: int | None, limit: int
) -> list[Record] | None:
    """Return events, the oldest first; of one instance or of all.

    :param after: only those after this id.
    :returns: ``None`` if an instance is named and there is none.
    """
    table = tables.events
    query = sa.select(table).order_by(table.c.id).limit(limit)
    if name is not None:
        query = query.where(table.c.instance == name)
    if after is not None:
        query = query.where(table.c.id > after)
    with database.reader.begin() as connection:
        if name is not None and not _exists(connection, name):
            return None
        rows = connection.execute(query).all()
    return [
        {
            'id': row.id,
            'instance': row.instance,
            'type': row.type,
            'at': _time(row.at),
            'received': _time(row.received),
            'data': json.loads(row.data),
        }
        for row in rows
    ]


def exists(database: engine.Database, name: str) -> bool:
    """Whether there is an instance of this name."""
    with database.reader.begin() as connection:
        return _exists(connection, name)


def _exists(connection: sa.Connection, name: str) -> bool:
    table = tables.instances
    return (
        connection.execute(sa.select(table.c.id).where(table.c.id == name)).first()
        is not None
    )


def _extension_names(
    connection: sa.Connection, ids: Collection[str]
) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    table = tables.extensions
    for name, extension in connection.execute(
        sa.select(table.c.instance, table.c.name)
        .where(table.c.instance.in_(ids))
        .order_by(table.c.name)
    ):
        names.setdefault(name, []).append(extension)
    return names


def _instance(row: sa.Row[Any]) -> Record:
    return {
        'id': row.id,
        'state': row.state,
        'agent_version': row.agent_version,
        'first_seen': _time(row.first_seen),
        'last_seen': _time(row.last_seen),
        'boot_id': row.boot_id,
        'started': _time(row.started),
    }


def _command(row: sa.Row[Any]) -> Record:
    return {
        'command_id': row.command_id,
        'caller': row.caller,
        'command': row.command,
        'digest': row.digest,
        'outcome': row.outcome,
        'result': json.loads(row.result),
        'error': json.loads(row.error),
        'started': _time(row.started),
        'seconds': row.seconds,
        'received': _time(row.received),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')
