# SPDX-License-Identifier: Apache-2.0
"""Forget an instance because an operator says so."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from guestagent.conductor import state
from guestagent.conductor.db import engine, tables

#: The type of the event that stays.
DELETED = 'instance.deleted'


def delete_instance(
    database: engine.Database, name: str, now: float, force: bool
) -> str | None:
    """Delete an instance with all its rows; one that is UP only with ``force``.

    What stays is one event that says so.  It also keeps the highest id of an event in
    its place: SQLite would give that again, and who follows events would miss one.

    :param now: UNIX seconds.
    :returns: the state that it had; ``None`` if there is no such instance.
    :raises sqlalchemy.exc.SQLAlchemyError: it did not work; nothing was deleted.
    """
    instances, events = tables.instances, tables.events
    with database.writer.begin() as connection:
        # Whoever writes a report of it locks this row first, too.
        before = connection.scalar(
            sa.select(instances.c.state).where(instances.c.id == name).with_for_update()
        )
        if before is None or (before == state.UP and not force):
            return before
        kept: Any = connection.execute(
            sa.insert(events).values(
                instance=name, type=DELETED, at=now, received=now, data='{}'
            )
        ).inserted_primary_key
        for table in tables.metadata.tables.values():
            if 'instance' in table.c:
                rows = sa.delete(table).where(table.c.instance == name)
                if table is events:
                    rows = rows.where(events.c.id != kept[0])
                connection.execute(rows)
        connection.execute(sa.delete(instances).where(instances.c.id == name))
    return before
