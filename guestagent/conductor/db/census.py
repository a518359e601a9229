# SPDX-License-Identifier: Apache-2.0
"""How many instances there are, for the metrics."""

from __future__ import annotations

import sqlalchemy as sa

from guestagent.conductor import state
from guestagent.conductor.db import engine, tables


def by_state(database: engine.Database) -> dict[str, int]:
    """Return the number of instances in each state.

    :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    column = tables.instances.c.state
    with database.reader.connect() as connection:
        rows = connection.execute(sa.select(column, sa.func.count()).group_by(column))
        return {**dict.fromkeys(state.STATES, 0), **dict(map(tuple, rows))}
