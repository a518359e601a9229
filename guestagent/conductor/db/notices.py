# SPDX-License-Identifier: Apache-2.0
"""Write events of the conductor's own, about instances that it knows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from guestagent.conductor import intake
from guestagent.conductor.db import engine, tables


class Notices:
    """Used by the thread that writes reports."""

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def write(self, notices: Sequence[intake.Notice], now: float) -> None:
        """Write them; what names an unknown instance is passed over.

        Anybody may make names up, and each would be a row.

        :param now: UNIX seconds.
        :raises sqlalchemy.exc.SQLAlchemyError: it did not work.
        """
        instances, events = tables.instances, tables.events
        names = {notice.instance for notice in notices}
        with self._database.writer.begin() as connection:
            known = set(
                connection.scalars(
                    sa.select(instances.c.id).where(instances.c.id.in_(sorted(names)))
                )
            )
            rows = [
                {
                    'instance': notice.instance,
                    'type': notice.type,
                    'at': now,
                    'received': now,
                    'data': json.dumps(notice.data),
                }
                for notice in notices
                if notice.instance in known
            ]
            if rows:
                connection.execute(sa.insert(events), rows)
