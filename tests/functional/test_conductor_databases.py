# SPDX-License-Identifier: Apache-2.0
"""A conductor on each database: reports in, the database away, its disk full."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from devstack import databases, processes, stack
from tests.functional import reports

pytestmark = pytest.mark.functional

_numbers = itertools.count(1)

Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=['postgresql', 'mariadb'])
def server(request: pytest.FixtureRequest) -> databases.Database:
    """A database server that runs, before and after the test."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(server: databases.Database) -> str:
    """The URL of an empty database on it."""
    return server.add(f'functional_{next(_numbers)}')


@pytest.fixture
def sql(database: str) -> Iterator[Sql]:
    """``sql(statement)``: run it and return its rows."""
    engine = sa.create_engine(database)

    def run(statement: str) -> list[tuple[Any, ...]]:
        with engine.begin() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    yield run
    engine.dispose()


def test_conductors_share_a_database_and_repeats_change_nothing(
    conductor, publisher, database, sql
):
    options = {'database': {'connection': database}, 'conductor': {'batch_size': 7}}
    children = [conductor(options) for _ in range(3)]
    for child in children:
        child.wait_line('taking reports from')
    guests = [
        reports.Guest(publisher, f'guest-{number}', interval=3600)
        for number in range(10)
    ]
    bodies = []
    for guest in guests:
        bodies.append(guest.make_facts(True, a=0, b=0))
        for number in range(1, 21):
            bodies.append(guest.make_facts(False, a=number))
            bodies.append(guest.make_event('round', number=number))
            bodies.append(guest.make_outcome(f'c-{number}', number))
            bodies.append(guest.make_heartbeat())
    # Reordered, and each twice.
    for body in bodies[::-1] + bodies:
        publisher.send(body)

    def all_there() -> bool:
        # Each is acknowledged when the conductors have stopped.
        return not publisher.depth() and sql('SELECT count(*) FROM commands') == [
            (200,)
        ]

    processes.wait_for(all_there, 'all reports were taken', 120)
    assert [child.stop() for child in children] == [0] * 3
    taken = re.findall(r'stopped: (\d+) reports taken', children[0].output())
    assert sum(map(int, taken)) == 2 * len(bodies)
    assert sql("SELECT count(*) FROM events WHERE type = 'test.round'") == [(200,)]
    assert sql("SELECT count(*) FROM events WHERE type = 'instance.up'") == [(10,)]
    assert sorted(set(sql('SELECT name, value FROM facts'))) == [
        ('monitoring.a', '20'),
        ('monitoring.b', '0'),
    ]
    assert set(sql('SELECT state, heartbeat_sequence, facts_gap FROM instances')) == {
        ('UP', 20, None)
    }


def test_nothing_is_lost_while_the_database_is_away(
    conductor, publisher, query, server, database, sql
):
    child = conductor({'database': {'connection': database}})
    guest = reports.Guest(publisher, 'web-1', interval=3600)
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')

    server.stop()
    try:
        for number in range(50):
            guest.event('kept', number=number)
        child.wait_line('no reports are taken: the database: ')
        guest.event('last')
        processes.wait_for(
            lambda: publisher.depth() == 51, 'all wait in the queue, none was taken'
        )
    finally:
        server.start()

    processes.wait_for(
        lambda: (
            sql("SELECT count(*) FROM events WHERE type <> 'instance.up'") == [(51,)]
        ),
        'each was taken',
        120,
    )
    processes.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    reports.wait_state(query, 'web-1', 'UP')


def test_a_database_that_is_away_at_the_start_is_one_line(conductor, database, server):
    server.stop()
    try:
        child = conductor({'database': {'connection': database}}, wait=False)
        assert child.wait_end() == 1
    finally:
        server.start()
    [line] = child.output().splitlines()
    assert line.startswith('guestagent-conductor: cannot use ')
    assert '[database] connection' in line


def test_an_idle_conductor_stops_at_once(conductor, database, publisher, query):
    took = []
    # A machine that is busy may need as long for the first.
    while not took or (took[-1] >= 4 and len(took) < 4):
        child = conductor({'database': {'connection': database}})
        guest = reports.Guest(publisher, f'web-{len(took)}')
        guest.heartbeat()
        reports.wait_state(query, guest.name, 'UP')
        # Longer than oslo.messaging's listener may sleep: by now it does.
        time.sleep(2)
        assert child.stop() == 0
        took.append(
            _seconds_between(child, 'SIGTERM: stopping', 'the conductor has stopped')
        )
    # It would sleep for 5.
    assert took[-1] < 4


def _seconds_between(child: stack.Conductor, first: str, last: str) -> float:
    """Return the time between two lines of a log."""
    times = []
    for text in (first, last):
        match = re.search(
            rf'^\S+ (\d+):(\d+):(\d+),(\d+) .*{re.escape(text)}', child.output(), re.M
        )
        assert match, text
        hours, minutes, seconds, millis = map(int, match.groups())
        times.append(3600 * hours + 60 * minutes + seconds + millis / 1000)
    return (times[1] - times[0]) % 86400
