# SPDX-License-Identifier: Apache-2.0
"""Batches in a real database, and what is read from it afterwards."""

import concurrent.futures
from typing import Any

import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from guestagent.conductor.db import queries, store, tables


@pytest.fixture
def records(database) -> store.Store:
    return store.Store(database)


def _rows(database, table: sa.Table, *columns: str) -> list[tuple[Any, ...]]:
    with database.reader.begin() as connection:
        return [
            tuple(row)
            for row in connection.execute(
                sa.select(*(table.c[name] for name in columns)).order_by(*columns)
            )
        ]


def test_a_batch_of_everything_twice(database, records, make):
    batch = [
        make('event', 'a', sequence=1, data={'n': 1}),
        make('heartbeat', 'b', extensions={'exec': {'version': '1.0', 'health': 'ok'}}),
        make('facts', 'b', full=True, facts={'x.a': 1, 'x.b': 'é', 'x.c': None}),
        make('facts', 'b', sequence=2, facts={'x.a': None, 'X.A': 2}),
        make('outcome', 'b', result={'n': 1}),
        make('event', 'b', generation='two', sequence=1),
    ]

    records.apply(batch, 100.0)
    # Another conductor knows nothing by heart.
    store.Store(database).apply(batch, 200.0)
    records.apply(batch, 300.0)

    assert _rows(
        database, tables.instances, 'id', 'state', 'last_seen', 'generations'
    ) == [('a', 'NEW', 100.0, 1), ('b', 'UP', 100.0, 2)]
    assert _rows(database, tables.generations, 'instance', 'generation', 'number') == [
        ('a', 'one', 1),
        ('b', 'one', 1),
        ('b', 'two', 2),
    ]
    assert queries.facts(database, 'b', '') == {
        'X.A': {'value': 2, 'updated': '1970-01-01T00:01:40.000Z'},
        'x.b': {'value': 'é', 'updated': '1970-01-01T00:01:40.000Z'},
    }
    assert _rows(database, tables.events, 'instance', 'type', 'received') == [
        ('a', 'test.x', 100.0),
        ('b', 'instance.up', 100.0),
        ('b', 'test.x', 100.0),
    ]
    assert _rows(database, tables.commands, 'instance', 'result') == [('b', '{"n":1}')]
    assert _rows(database, tables.extensions, 'instance', 'name') == [('b', 'exec')]


def test_instances_that_differ_in_case_are_two(database, records, make):
    records.apply([make('heartbeat', 'web'), make('heartbeat', 'WEB')], 100.0)

    assert {row['id'] for row in queries.instances(database, None, None, 10)} == {
        'web',
        'WEB',
    }


def test_the_newest_wins_across_batches(database, records, make):
    def extension(health: str) -> dict[str, Any]:
        return {'exec': {'version': '1.0', 'health': health}}

    records.apply([make(sequence=2, extensions=extension('second'))], 100.0)
    records.apply([make(sequence=1, extensions=extension('first'))], 200.0)
    assert queries.instance(database, 'i')['extensions']['exec']['health'] == 'second'
    records.apply([make(sequence=3, extensions={})], 300.0)

    shown = queries.instance(database, 'i')
    assert shown['extensions'] == {}
    assert shown['last_seen'] == '1970-01-01T00:05:00.000Z'


def test_facts_out_of_order_across_batches(database, records, make):
    records.apply([make('facts', sequence=3, facts={'a': None, 'b': 3})], 100.0)
    records.apply([make('facts', sequence=2, facts={'a': 2})], 100.0)
    records.apply([make('facts', sequence=1, full=True, facts={'b': 1, 'c': 1})], 100.0)
    values = {
        name: fact['value'] for name, fact in queries.facts(database, 'i', '').items()
    }
    assert values == {'b': 3, 'c': 1}

    records.apply([make('facts', generation='two', full=True, facts={'d': 1})], 100.0)

    assert list(queries.facts(database, 'i', '')) == ['d']
    assert _rows(database, tables.facts, 'name') == [('d',)]


def test_an_outcome_reported_again_is_replaced_in_its_place(database, records, make):
    records.apply(
        [
            make('outcome', sequence=1, command_id='a'),
            make('outcome', sequence=2, command_id='b'),
        ],
        100.0,
    )
    records.apply(
        [make('outcome', generation='two', command_id='a', outcome='failed')], 200.0
    )
    records.apply([make('outcome', sequence=1, command_id='a')], 300.0)

    found = [record for _, record in queries.commands(database, 'i', None, 10)]
    assert [(record['command_id'], record['outcome']) for record in found] == [
        ('b', 'done'),
        ('a', 'failed'),
    ]


def test_large_and_strange_values_are_kept(database, records, make):
    value = {'text': 'x' * 200_000, 'odd': '\0\ud800é\U0001f600'}
    records.apply(
        [
            make('facts', full=True, facts={'é\U0001f600': value}),
            make('event', data=value),
            make('outcome', result=value),
            make(sequence=2**63 - 1),
        ],
        100.0,
    )

    assert queries.facts(database, 'i', 'é')['é\U0001f600']['value'] == value
    assert queries.command(database, 'i', 'c', None)['result'] == value


def test_a_failed_batch_leaves_nothing(database, records, make):
    with database.writer.begin() as connection:
        connection.execute(sa.text('ALTER TABLE events RENAME TO away'))
    try:
        with pytest.raises(sqlalchemy.exc.SQLAlchemyError):
            records.apply([make('outcome'), make('event')], 100.0)
    finally:
        with database.writer.begin() as connection:
            connection.execute(sa.text('ALTER TABLE away RENAME TO events'))
    assert _rows(database, tables.instances, 'id') == []

    records.apply([make('outcome'), make('event')], 100.0)

    assert _rows(database, tables.generations, 'number') == [(1,)]


def test_numbers_of_a_database_that_is_gone_are_forgotten(database, records, make):
    records.apply([make(generation='one'), make(generation='two')], 100.0)
    with database.writer.begin() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(sa.delete(table))

    records.apply([make(generation='two')], 100.0)

    assert _rows(database, tables.generations, 'generation', 'number') == [('two', 1)]


def test_conductors_side_by_side_number_and_keep_the_same(database, make):
    """Four writers, the same instances and generations, each event twice."""
    names = [f'i-{number}' for number in range(20)]

    def work(worker: int) -> None:
        records = store.Store(database)
        for turn in range(10):
            batch = []
            for name in names:
                generation = f'g-{turn // 3}'
                batch.append(make('event', name, generation, turn + 1))
                batch.append(
                    make('heartbeat', name, generation, 10 * turn + worker + 1)
                )
            while True:
                try:
                    records.apply(batch, 100.0)
                    break
                except sqlalchemy.exc.OperationalError:
                    # As the listener does: a deadlock is a reason to do it again.
                    continue

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, worker) for worker in range(4)]:
            future.result(60)

    numbers = _rows(database, tables.generations, 'instance', 'number')
    assert numbers == sorted((name, number) for name in names for number in range(1, 5))
    events = _rows(database, tables.events, 'instance', 'type')
    assert len([kind for _, kind in events if kind == 'test.x']) == 200
    assert len([kind for _, kind in events if kind == 'instance.up']) == 20
    for instance in queries.instances(database, None, None, 100):
        assert queries.instance(database, instance['id'])['generation'] == 4


def test_what_a_guest_sends_again_under_another_number_is_kept_once(database, make):
    records = store.Store(database)
    for generation, sequence in (('one', 3), ('two', 1), ('one', 3)):
        records.apply([make('event', 'i', generation, sequence, id='a')], 1.0)
        records.apply([make('event', 'i', generation, sequence, id='b')], 1.0)
    records.apply([make('outcome', 'i', 'one', 1)], 2.0)
    records.apply([make('outcome', 'i', 'two', 1, outcome='interrupted')], 3.0)

    assert _rows(database, tables.events, 'report') == [('a',), ('b',)]
    assert _rows(database, tables.commands, 'outcome') == [('done',)]
