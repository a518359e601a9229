# SPDX-License-Identifier: Apache-2.0
"""DOWN, and what is forgotten when."""

import concurrent.futures

import pytest
import sqlalchemy as sa

from guestagent.conductor import rules
from guestagent.conductor.db import queries, store, tables, upkeep

LONG = 1e6


@pytest.fixture
def records(database) -> store.Store:
    return store.Store(database)


def _state(database, name: str = 'i') -> str:
    return queries.instance(database, name)['state']


def _types(database) -> list[str]:
    return [event['type'] for event in queries.events(database, None, None, 100)]


def test_three_intervals_of_silence_are_down(database, records, make):
    records.apply([make(interval=10)], 100.0)

    assert upkeep.mark_down(database, 130.0, LONG) == 0
    assert _state(database) == 'UP'
    assert upkeep.mark_down(database, 130.1, LONG) == 1
    assert _state(database) == 'DOWN'
    assert upkeep.mark_down(database, 140.0, LONG) == 0
    assert _types(database) == ['instance.up', 'instance.down']


def test_nobody_is_down_who_was_not_listened_to(database, records, make):
    records.apply(
        [
            make('heartbeat', 'quick', interval=1),
            make('heartbeat', 'slow', interval=10),
        ],
        100.0,
    )

    assert upkeep.mark_down(database, 1000.0, 20.0) == 1
    assert (_state(database, 'quick'), _state(database, 'slow')) == ('DOWN', 'UP')


def test_who_is_listened_to_elsewhere_is_not_down_for_what_was_not_heard_there(
    database, records, make
):
    records.apply([make('heartbeat', name, interval=1) for name in 'abc'], 100.0)

    # 'b' has a connection of its own, which is away; that of 'c' has heard enough.
    assert upkeep.mark_down(database, 1000.0, LONG, {'b': 0.0, 'c': LONG}) == 2
    states = [_state(database, name) for name in 'abc']
    assert states == ['DOWN', 'UP', 'DOWN']
    assert upkeep.mark_down(database, 1000.0, 0.0, {'b': LONG}) == 0


def test_who_said_goodbye_or_never_came_is_not_down(database, records, make):
    records.apply(
        [make('heartbeat', 'gone', status='stopping'), make('event', 'new')], 100.0
    )

    assert upkeep.mark_down(database, 1e9, LONG) == 0


def test_down_after_takes_the_place_of_the_interval(database, make):
    store.Store(database, rules.Settings(down_after=5)).apply(
        [make(interval=1000)], 100.0
    )

    assert upkeep.mark_down(database, 105.5, LONG) == 1


def test_sweeps_side_by_side_record_each_instance_once(database, records, make):
    records.apply([make('heartbeat', f'i-{number}') for number in range(50)], 100.0)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: upkeep.mark_down(database, 200.0, LONG), range(4))
        )

    assert sum(found) == 50
    assert _types(database).count('instance.down') == 50


def test_what_is_older_than_its_retention_is_forgotten(database, records, make):
    day = upkeep.DAY
    records.apply([make('event', sequence=1), make('outcome', command_id='old')], day)
    records.apply(
        [make('event', sequence=2), make('outcome', command_id='new', sequence=2)],
        5 * day,
    )

    assert upkeep.prune(database, 8 * day, 0, 0, 100) == 0
    assert upkeep.prune(database, 8 * day, 5, 5, 100) == 2
    assert len(_types(database)) == 1
    assert [
        record['command_id'] for _, record in queries.commands(database, 'i', None, 10)
    ] == ['new']


def test_a_generation_that_is_over_is_forgotten_and_its_number_not_used_again(
    database, records, make
):
    records.apply([make(generation='one'), make(generation='two')], 0.0)
    assert upkeep.prune(database, 40 * upkeep.DAY, 30, 30, 100) == 2

    store.Store(database).apply([make(generation='three')], 40 * upkeep.DAY)

    table = tables.generations
    with database.reader.begin() as connection:
        found = connection.execute(
            sa.select(table.c.generation, table.c.number).order_by(table.c.number)
        )
        assert [tuple(row) for row in found] == [('two', 2), ('three', 3)]


def test_one_call_deletes_no_more_than_it_may(database, records, make):
    records.apply([make('event', sequence=number) for number in range(1, 1201)], 0.0)

    deleted = [upkeep.prune(database, 90 * upkeep.DAY, 30, 30, 700) for _ in range(3)]

    assert deleted == [700, 500, 0]
