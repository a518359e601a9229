# SPDX-License-Identifier: Apache-2.0
"""What the conductor does to its records by itself: mark DOWN, and forget.

All of it may run in several conductors at once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

import sqlalchemy as sa

from guestagent.conductor import state
from guestagent.conductor.db import engine, tables, upsert

DAY = 86400.0

#: How many rows one transaction deletes.
_CHUNK = 500

#: How many instances one transaction marks DOWN; SQLite's parameters have a limit.
_MOST_DOWN = 10_000


def mark_down(
    database: engine.Database,
    now: float,
    listened: float,
    apart: Mapping[str, float] | None = None,
) -> int:
    """Mark instances without a heartbeat as DOWN, and record an event of each.

    :param now: UNIX seconds.
    :param listened: for how many seconds reports have been taken without a gap.  An
        instance that may be silent for longer than that may have been heard by nobody.
    :param apart: the same of instances whose reports are taken elsewhere.
    :returns: how many there were.
    :raises sqlalchemy.exc.SQLAlchemyError: it did not work; nothing was changed.
    """
    instances = tables.instances.c
    mark = uuid.uuid4().hex
    kind, data = state.transition(state.UP, state.DOWN)
    with database.writer.begin() as connection:
        # A row that is locked is about to get news, or is another sweep's: waiting
        # for it while others are held could be waiting in a ring.
        silent = instances.down_at - instances.last_seen
        rows = connection.execute(
            sa.select(instances.id, silent)
            .where(
                instances.state == state.UP, instances.down_at < now, silent < listened
            )
            .order_by(instances.id)
            .limit(_MOST_DOWN)
            .with_for_update(skip_locked=True)
        ).all()
        heard = apart or {}
        ids = [name for name, bound in rows if bound < heard.get(name, listened)]
        if not ids:
            return 0
        found = connection.execute(
            sa.update(tables.instances)
            .where(upsert.among(connection, instances.id, ids))
            .values(state=state.DOWN, sweep=mark)
        )
        connection.execute(
            sa.insert(tables.events).from_select(
                ['instance', 'type', 'at', 'received', 'data'],
                sa.select(
                    instances.id,
                    sa.literal(kind),
                    sa.literal(now, sa.Double),
                    sa.literal(now, sa.Double),
                    sa.literal(json.dumps(data)),
                ).where(instances.sweep == mark, instances.state == state.DOWN),
            )
        )
        return found.rowcount


def prune(
    database: engine.Database,
    now: float,
    event_days: float,
    outcome_days: float,
    limit: int,
    series_days: float = 0.0,
) -> int:
    """Delete what is older than the retention, the oldest first.

    With its last events an instance's older generations go too: reports of them are
    not expected any more.  So do the heads of its audit log.

    :param event_days: 0: events stay for ever; likewise ``outcome_days``.
    :param series_days: 0: points of series stay for ever.
    :param limit: how many rows of each table are deleted at most.
    :returns: how many rows were deleted.
    :raises sqlalchemy.exc.SQLAlchemyError: it did not work; some may be deleted.
    """
    commands, events, generations = tables.commands, tables.events, tables.generations
    heads = tables.audit_heads
    deleted = 0
    if series_days:
        points = tables.points
        old = points.c.at < now - series_days * DAY
        deleted += _delete(database, points.c.at, old, limit)
    if outcome_days:
        old = commands.c.received < now - outcome_days * DAY
        deleted += _delete(database, commands.c.received, old, limit)
    if event_days:
        old = events.c.received < now - event_days * DAY
        deleted += _delete(database, events.c.received, old, limit)
        old = heads.c.received < now - event_days * DAY
        deleted += _delete(database, heads.c.received, old, limit)
        newest = (
            sa.select(tables.instances.c.heartbeat_generation)
            .where(tables.instances.c.id == generations.c.instance)
            .scalar_subquery()
        )
        old = sa.and_(
            generations.c.met < now - event_days * DAY, generations.c.number < newest
        )
        deleted += _delete(database, generations.c.met, old, limit)
    return deleted


def _delete(
    database: engine.Database,
    time: sa.Column[float],
    condition: sa.ColumnElement[bool],
    limit: int,
) -> int:
    """Delete rows in small transactions; others get their turn in between.

    :param time: the column of the table that says which are the oldest.
    """
    table = time.table
    deleted = 0
    while deleted < limit:
        with database.writer.begin() as connection:
            ids = connection.scalars(
                sa.select(table.c.id)
                .where(condition)
                .order_by(time)
                .limit(min(_CHUNK, limit - deleted))
            ).all()
            if ids:
                connection.execute(sa.delete(table).where(table.c.id.in_(ids)))
        deleted += len(ids)
        if len(ids) < _CHUNK:
            break
    return deleted
