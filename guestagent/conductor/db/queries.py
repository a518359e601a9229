# SPDX-License-Identifier: Apache-2.0
"""Read what the conductor knows, as dictionaries that JSON carries.

Each function reads in one transaction.  Times in the answers are texts, ISO 8601 in
UTC.  All raise :class:`sqlalchemy.exc.SQLAlchemyError` when the database fails.
"""

from __future__ import annotations

import datetime
import json
from typing import Any, TypeAlias

import sqlalchemy as sa

from guestagent.conductor.db import engine, patterns, tables

Record: TypeAlias = dict[str, Any]


def instances(
    database: engine.Database,
    state: str | None,
    marker: str | None,
    limit: int,
    *,
    name: str | None = None,
    extension: str | None = None,
    agent_version: str | None = None,
    conflict: bool | None = None,
) -> list[Record]:
    """Return instances in the order of their ids, those after ``marker``.

    :param name: a pattern (:mod:`guestagent.conductor.db.patterns`) of the id.
    :param extension: only those that have named this one in a heartbeat.
    :param conflict: only those whose id two agents have, or only the others.
    """
    table, extensions = tables.instances, tables.extensions
    query = sa.select(table).order_by(table.c.id).limit(limit)
    if state is not None:
        query = query.where(table.c.state == state)
    if marker is not None:
        query = query.where(table.c.id > marker)
    if name is not None:
        query = query.where(_matches(database, table.c.id, name))
    if agent_version is not None:
        query = query.where(table.c.agent_version == agent_version)
    if conflict is not None:
        query = query.where(table.c.conflict.is_not(None) == conflict)
    if extension is not None:
        query = query.where(
            sa.exists().where(
                extensions.c.instance == table.c.id, extensions.c.name == extension
            )
        )
    with database.reader.begin() as connection:
        rows = connection.execute(query).all()
        names = _extension_names(connection, query)
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
        'audit': None
        if row.audit_length is None
        else {'length': row.audit_length, 'head': row.audit_head},
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
    database: engine.Database,
    name: str | None,
    marker: int | None,
    limit: int,
    *,
    caller: str | None = None,
    command: str | None = None,
    outcome: str | None = None,
    since: float | None = None,
    until: float | None = None,
) -> list[tuple[int, Record]] | None:
    """Return (id, outcome) of commands, the newest first; of an instance or of all.

    :param marker: only those before this id.
    :param command: a pattern (:mod:`guestagent.conductor.db.patterns`) of its name.
    :param since: only those received at this time (UNIX seconds) or later.
    :param until: only those received before it.
    :returns: ``None`` if an instance is named and there is none.
    """
    table = tables.commands
    query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    for column, value in (
        (table.c.instance, name),
        (table.c.caller, caller),
        (table.c.outcome, outcome),
    ):
        if value is not None:
            query = query.where(column == value)
    if command is not None:
        query = query.where(_matches(database, table.c.command, command))
    if marker is not None:
        query = query.where(table.c.id < marker)
    query = _received(query, table, since, until)
    with database.reader.begin() as connection:
        if name is not None and not _exists(connection, name):
            return None
        rows = connection.execute(query).all()
    return [(row.id, _command(row)) for row in rows]


def events(
    database: engine.Database,
    name: str | None,
    after: int | None,
    limit: int,
    *,
    kind: str | None = None,
    since: float | None = None,
    until: float | None = None,
    newest: bool = False,
) -> list[Record] | None:
    """Return events, the oldest first; of one instance or of all.

    :param after: only those after this id.
    :param kind: a pattern (:mod:`guestagent.conductor.db.patterns`) of the type.
    :param since: only those received at this time (UNIX seconds) or later.
    :param until: only those received before it.
    :param newest: where there are more than ``limit``, the last of them.
    :returns: ``None`` if an instance is named and there is none.
    """
    table = tables.events
    order = table.c.id.desc() if newest else table.c.id.asc()
    query = sa.select(table).order_by(order).limit(limit)
    if name is not None:
        query = query.where(table.c.instance == name)
    if after is not None:
        query = query.where(table.c.id > after)
    if kind is not None:
        query = query.where(_matches(database, table.c.type, kind))
    query = _received(query, table, since, until)
    with database.reader.begin() as connection:
        if name is not None and not _exists(connection, name):
            return None
        rows = connection.execute(query).all()
    return [_event(row) for row in (reversed(rows) if newest else rows)]


def audit_heads(
    database: engine.Database, name: str, after: int | None, limit: int
) -> list[tuple[int, Record]] | None:
    """Return (id, head) of where an instance's audit log ended, the oldest first.

    :param after: only those after this id.
    :returns: ``None`` if there is no such instance.
    """
    table = tables.audit_heads
    query = sa.select(table).where(table.c.instance == name)
    if after is not None:
        query = query.where(table.c.id > after)
    with database.reader.begin() as connection:
        if not _exists(connection, name):
            return None
        rows = connection.execute(query.order_by(table.c.id).limit(limit)).all()
    return [
        (
            row.id,
            {'length': row.length, 'head': row.head, 'received': _time(row.received)},
        )
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


def _matches(
    database: engine.Database, column: sa.ColumnElement[str], pattern: str
) -> sa.ColumnElement[bool]:
    return patterns.matches(database.reader.dialect.name, column, pattern)


def _received(
    query: sa.Select[Any], table: sa.Table, since: float | None, until: float | None
) -> sa.Select[Any]:
    if since is not None:
        query = query.where(table.c.received >= since)
    if until is not None:
        query = query.where(table.c.received < until)
    return query


def _extension_names(
    connection: sa.Connection, query: sa.Select[Any]
) -> dict[str, list[str]]:
    """Return the names of extensions by instance, of those that ``query`` selects."""
    names: dict[str, list[str]] = {}
    table = tables.extensions
    # The same query again, not a thousand ids: those would cost more than the answer.
    page = query.with_only_columns(tables.instances.c.id).subquery()
    for name, extension in connection.execute(
        sa.select(table.c.instance, table.c.name)
        .join(page, page.c.id == table.c.instance)
        .order_by(table.c.name)
    ).all():
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
        'conflict': _conflict(row),
    }


def _conflict(row: sa.Row[Any]) -> Record | None:
    """Return the two agents that go by this name, the newer first, if there are."""
    if row.conflict is None:
        return None
    return {
        'since': _time(row.conflict),
        'generations': [row.heartbeat_generation, row.rival_generation],
        'boot_ids': [row.boot_id, row.rival_boot_id],
    }


def _command(row: sa.Row[Any]) -> Record:
    return {
        'instance': row.instance,
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


def _event(row: sa.Row[Any]) -> Record:
    return {
        'id': row.id,
        'instance': row.instance,
        'type': row.type,
        'at': _time(row.at),
        'received': _time(row.received),
        'data': json.loads(row.data),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')
