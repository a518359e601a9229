# SPDX-License-Identifier: Apache-2.0
"""Series of numbers, as far back as they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import sqlalchemy as sa

from guestagent import numbers
from guestagent.conductor.db import engine, tables

#: The most points that one answer is made of; of these each series keeps so many.
READ_MAX = 200_000
POINTS_MAX = 2000

#: UNIX seconds, and the number from then on.
Point: TypeAlias = list[float]


class TooMany(Exception):
    """There are more points than one answer is made of."""


def write(
    connection: sa.Connection, found: Mapping[tuple[str, str], float], now: float
) -> None:
    """Add a point to series.

    :param found: the numbers, by instance and name of the series.
    """
    if found:
        connection.execute(
            sa.insert(tables.points),
            [
                {'instance': instance, 'name': name, 'at': now, 'value': value}
                for (instance, name), value in found.items()
            ],
        )


def read(
    database: engine.Database, instance: str, prefix: str, since: float, until: float
) -> dict[str, list[Point]]:
    """Return the series whose name is ``prefix``, or begins with it and a dot.

    The last point of each is what the number is now.  Of a series with many points some
    are left out, evenly.

    :raises TooMany: the time is too long.
    :raises sqlalchemy.exc.SQLAlchemyError: it did not work.
    """
    table, facts = tables.points, tables.facts
    with database.reader.begin() as connection:
        rows = connection.execute(
            sa.select(table.c.name, table.c.at, table.c.value)
            .where(
                table.c.instance == instance,
                table.c.at >= since,
                table.c.at <= until,
                _begins(table.c.name, prefix),
            )
            .order_by(table.c.at, table.c.id)
            .limit(READ_MAX + 1)
        ).all()
        present = connection.execute(
            sa.select(facts.c.name, facts.c.value, facts.c.updated).where(
                facts.c.instance == instance,
                facts.c.value.is_not(None),
                facts.c.updated <= until,
            )
        ).all()
    if len(rows) > READ_MAX:
        raise TooMany
    found: dict[str, list[Point]] = {}
    for name, at, value in rows:
        found.setdefault(name, []).append([at, value])
    for fact, text, updated in present:
        _add_present(found, fact, text, updated)
    return {name: _thin(found[name]) for name in sorted(found)}


def _begins(column: sa.Column[str], prefix: str) -> sa.ColumnElement[bool]:
    # Not LIKE: databases differ in what case means to it.
    dotted = f'{prefix}.'
    return sa.or_(column == prefix, sa.func.substr(column, 1, len(dotted)) == dotted)


def _add_present(
    found: dict[str, list[Point]], fact: str, text: str, updated: float
) -> None:
    """Add what the numbers have become since their last points."""
    if not any(name == fact or name.startswith(f'{fact}.') for name in found):
        return
    for name, number in numbers.numbers(fact, text).items():
        if name in found and found[name][-1][0] < updated:
            found[name].append([updated, number])


def _thin(points: list[Point]) -> list[Point]:
    every = -(-len(points) // POINTS_MAX)
    if every <= 1:
        return points
    return [*points[:-1:every], points[-1]]
