# SPDX-License-Identifier: Apache-2.0
"""Who is asked for a full report: decided here, for all conductors together."""

from __future__ import annotations

import sqlalchemy as sa

from guestagent.conductor import state
from guestagent.conductor.db import engine, tables, upsert

#: An instance is asked no sooner again, in seconds.
INTERVAL = 60.0

#: What was not asked for a while may be asked at once: for so many seconds.
BURST = 1.0

_PACE = 'asks'


def choose(
    database: engine.Database, now: float, after: float, rate: float
) -> list[str]:
    """Return the ids of instances to ask now; each is noted as asked.

    :param now: UNIX seconds.
    :param after: for how many seconds facts must have been missing.
    :param rate: how many instances are asked in a second, by all conductors.
    :raises sqlalchemy.exc.SQLAlchemyError: it did not work, and none was noted.
    """
    due = _due(now, after)
    with database.reader.begin() as connection:
        first = sa.select(tables.instances.c.id).where(due).limit(1)
        if connection.execute(first).first() is None:
            return []
    with database.writer.begin() as connection:
        begin = _turn(connection, now)
        count = int((now - begin) * rate)
        # Below 0 it is where the conductor before has a clock that is a bit ahead.
        if count <= 0:
            return []
        chosen = _take(connection, due, count, now)
        if chosen:
            connection.execute(
                sa.update(tables.pace)
                .where(tables.pace.c.name == _PACE)
                .values(until=begin + len(chosen) / rate)
            )
        return chosen


def _due(now: float, after: float) -> sa.ColumnElement[bool]:
    """Return the condition that an instance is to be asked."""
    instances = tables.instances.c
    return sa.and_(
        instances.facts_gap < now - after,
        instances.state == state.UP,
        sa.or_(instances.asked.is_(None), instances.asked < now - INTERVAL),
    )


def _turn(connection: sa.Connection, now: float) -> float:
    """Wait until no other conductor chooses; return until when time is used up.

    What lies between that and ``now`` is there for asking.
    """
    pace = tables.pace.c
    until = connection.scalar(
        sa.select(pace.until).where(pace.name == _PACE).with_for_update()
    )
    begin = max(until or 0.0, now - BURST)
    # A clock was set back: that must not stop it.
    return now - BURST if begin > now + BURST else begin


def _take(
    connection: sa.Connection, due: sa.ColumnElement[bool], count: int, now: float
) -> list[str]:
    """Note up to ``count`` instances as asked, those that have waited longest."""
    instances = tables.instances.c
    chosen = connection.scalars(
        sa.select(instances.id)
        .where(due)
        .order_by(instances.facts_gap)
        .limit(count)
        # What is locked gets news: it may be complete in a moment.
        .with_for_update(skip_locked=True)
    ).all()
    if chosen:
        connection.execute(
            sa.update(tables.instances)
            .where(upsert.among(connection, instances.id, chosen), due)
            .values(asked=now)
        )
    return list(chosen)
