# SPDX-License-Identifier: Apache-2.0
"""Following events where conductors commit in another order than they write."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest
import sqlalchemy as sa

from devstack import databases, processes
from guestagent import records
from guestagent.conductor import api
from guestagent.conductor.db import engine, tables

pytestmark = pytest.mark.functional


class Direct:
    """A bus that is none: the conductor's endpoint is called."""

    exchange = ''

    def __init__(self, database: engine.Database) -> None:
        self._endpoint = api.Queries(database)

    def request(
        self,
        who: str,
        send: str,
        target: dict[str, Any],
        context: dict[str, Any],
        method: str,
        arguments: dict[str, Any],
    ) -> Any:
        try:
            return getattr(self._endpoint, method)(context, **arguments)
        except oslo_messaging.ExpectedException as error:
            raise error.exc_info[1]


@pytest.fixture
def database(tmp_path: pathlib.Path) -> Iterator[engine.Database]:
    server = databases.PostgreSQL(tmp_path / 'postgresql')
    with contextlib.ExitStack() as stopping:
        stopping.callback(server.remove)
        opened = engine.Database(server.add('follow'))
        stopping.callback(opened.close)
        opened.sync()
        yield opened


def write(connection: sa.Connection, kind: str) -> None:
    connection.execute(
        sa.insert(tables.events).values(
            instance='vm-1', type=kind, at=1.0, received=1.0, data='{}'
        )
    )


@pytest.mark.slow
def test_an_event_that_is_committed_late_is_not_missed(
    database: engine.Database,
) -> None:
    conductor = records.Conductor(Direct(database), timeout=60)
    seen: list[tuple[int, str]] = []

    def follow() -> None:
        for event in conductor.follow_events(interval=0.05):
            seen.append((event['id'], event['type']))
            if event['type'] == 'end':
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    with database.writer.connect() as slow:
        slow.begin()
        write(slow, 'late')
        with database.writer.begin() as quick:
            write(quick, 'early')
        processes.wait_for(lambda: len(seen) == 1, 'the early one is seen')
        slow.commit()
    processes.wait_for(lambda: len(seen) == 2, 'the late one is seen')
    with database.writer.begin() as quick:
        write(quick, 'end')
    follower.join(60)

    assert [kind for _, kind in seen] == ['early', 'late', 'end']
    assert seen[1][0] < seen[0][0]
