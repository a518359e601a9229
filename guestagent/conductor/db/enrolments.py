# SPDX-License-Identifier: Apache-2.0
"""Which guests may come for their keys, and which were cut off, in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from guestagent.conductor.db import engine, tables

#: The columns that a token has filled.
_TOKEN = ('verify_key', 'bundle', 'expires', 'taken_by')


class Entry(NamedTuple):
    """A row of the table; its columns are described there."""

    name: str
    stamp: int
    vhost: str
    verify_key: str | None
    bundle: str | None
    expires: float | None
    taken_by: str | None
    revoked: float | None


def find(database: engine.Database, name: str) -> Entry | None:
    """Return what is known of an instance.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    table = tables.enrolments
    with database.reader.begin() as connection:
        row = connection.execute(sa.select(table).where(table.c.name == name)).first()
    return None if row is None else Entry(*row)


def write(
    database: engine.Database, name: str, stamp: int, values: Mapping[str, Any] | None
) -> bool:
    """Set an instance's columns, unless what is there is as new; return whether.

    :param values: of the columns, of which others become empty; ``None``: they stay.
    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    table = tables.enrolments
    empty = dict.fromkeys(_TOKEN)
    row = {'vhost': '', **empty, 'revoked': None, **(values or {}), 'stamp': stamp}
    with database.writer.begin() as connection:
        before = connection.scalar(
            sa.select(table.c.stamp).where(table.c.name == name).with_for_update()
        )
        if before is None:
            connection.execute(sa.insert(table).values(name=name, **row))
        elif before < stamp:
            changed = {'stamp': stamp} if values is None else row
            connection.execute(
                sa.update(table).where(table.c.name == name).values(**changed)
            )
        else:
            return False
    return True


def take(database: engine.Database, entry: Entry, public: str) -> bool:
    """Note who takes a bundle, if nobody else has; return whether it may.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    table = tables.enrolments.c
    with database.writer.begin() as connection:
        done = connection.execute(
            sa.update(tables.enrolments)
            .where(
                table.name == entry.name,
                # Another token may have come meanwhile.
                table.stamp == entry.stamp,
                sa.or_(table.taken_by.is_(None), table.taken_by == public),
            )
            .values(taken_by=public)
        )
    return done.rowcount == 1


def since(database: engine.Database, stamp: int) -> list[tuple[str, int, str, bool]]:
    """Return (name, stamp, virtual host, whether cut off) of what is newer.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    table = tables.enrolments.c
    with database.reader.begin() as connection:
        rows = connection.execute(
            sa.select(table.name, table.stamp, table.vhost, table.revoked).where(
                table.stamp > stamp
            )
        ).all()
    return [(name, at, vhost, revoked is not None) for name, at, vhost, revoked in rows]


def note(
    database: engine.Database, name: str, kind: str, data: Mapping[str, Any], now: float
) -> None:
    """Write an event, also of an instance that has not reported yet.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    with database.writer.begin() as connection:
        connection.execute(
            sa.insert(tables.events).values(
                instance=name, type=kind, at=now, received=now, data=json.dumps(data)
            )
        )


def forget_expired(database: engine.Database, now: float) -> int:
    """Delete the bundles that nobody can get any more; return how many.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    table = tables.enrolments
    with database.writer.begin() as connection:
        done = connection.execute(
            sa.update(table)
            .where(table.c.expires < now)
            .values(**dict.fromkeys(('verify_key', 'bundle', 'expires')))
        )
    return int(done.rowcount)
