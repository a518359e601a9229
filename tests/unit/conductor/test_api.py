# SPDX-License-Identifier: Apache-2.0
"""The endpoint, without a bus: pages, and arguments that are wrong."""

import oslo_messaging
import pytest

from guestagent import errors
from guestagent.conductor import api
from guestagent.conductor.db import store, tables


@pytest.fixture
def records(database) -> store.Store:
    return store.Store(database)


@pytest.fixture
def ask(database):
    """``ask(method, **arguments)``: raises what a caller would see."""
    endpoint = api.Queries(database)

    def call(method: str, **arguments):
        try:
            return getattr(endpoint, method)({}, **arguments)
        except oslo_messaging.ExpectedException as error:
            raise error.exc_info[1]

    return call


def test_instances_come_in_pages(ask, records, make):
    records.apply([make('heartbeat', f'i-{number}') for number in range(5)], 100.0)

    first = ask('instance_list', limit=3)
    second = ask('instance_list', limit=3, marker=first['next'])

    assert [item['id'] for item in first['instances']] == ['i-0', 'i-1', 'i-2']
    assert [item['id'] for item in second['instances']] == ['i-3', 'i-4']
    assert second['next'] is None
    assert ask('instance_list', state='DOWN') == {'instances': [], 'next': None}


def test_events_come_in_pages_the_oldest_first(ask, records, make):
    records.apply([make('event', 'a', sequence=number) for number in (1, 2, 3)], 100.0)
    records.apply([make('event', 'b')], 100.0)

    first = ask('event_list', limit=2)
    second = ask('event_list', limit=2, after=first['next'])
    ids = [event['id'] for event in first['events'] + second['events']]

    assert ids == sorted(ids)
    assert len(ids) == 4
    assert ask('event_list', after=ids[-1]) == {'events': [], 'next': None}
    assert len(ask('event_list', instance='a')['events']) == 3


def test_a_command_of_a_certain_caller(ask, records, make):
    records.apply(
        [
            make('outcome', sequence=1, caller='x', result=1),
            make('outcome', sequence=2, caller='y', result=2),
        ],
        100.0,
    )

    assert ask('command_show', instance='i', command_id='c', caller='x')['result'] == 1
    assert ask('command_show', instance='i', command_id='c')['result'] == 2
    with pytest.raises(errors.NoSuchRecord, match="'z'"):
        ask('command_show', instance='i', command_id='c', caller='z')


def test_a_prefix_is_taken_literally(ask, records, make):
    records.apply([make('facts', full=True, facts={'a_b': 1, 'aXb': 2, 'A_b': 3})], 1.0)

    assert list(ask('facts_get', instance='i', prefix='a_')['facts']) == ['a_b']


@pytest.mark.parametrize(
    ('method', 'arguments'),
    [
        ('instance_show', {'instance': 'x'}),
        ('facts_get', {'instance': 'x'}),
        ('command_show', {'instance': 'x', 'command_id': 'c'}),
        ('command_list', {'instance': 'x'}),
        ('event_list', {'instance': 'x'}),
    ],
)
def test_an_unknown_instance_is_named(ask, method, arguments):
    with pytest.raises(errors.NoSuchInstance, match="'x'"):
        ask(method, **arguments)


@pytest.mark.parametrize(
    ('method', 'arguments', 'name'),
    [
        ('instance_list', {'state': 'up'}, 'state'),
        ('instance_list', {'state': ['UP']}, 'state'),
        ('instance_list', {'limit': 1001}, 'limit'),
        ('instance_list', {'limit': True}, 'limit'),
        ('instance_list', {'limit': '5'}, 'limit'),
        ('instance_list', {'marker': 5}, 'marker'),
        ('instance_list', {'marker': 'a\0'}, 'marker'),
        ('instance_show', {'instance': 'a b'}, 'instance'),
        ('instance_show', {'instance': 5}, 'instance'),
        ('facts_get', {'instance': 'i', 'prefix': {}}, 'prefix'),
        ('facts_get', {'instance': 'i', 'prefix': '\ud800'}, 'prefix'),
        ('command_show', {'instance': 'i', 'command_id': 'x' * 65}, 'command_id'),
        ('command_show', {'instance': 'i', 'command_id': 'c', 'caller': 5}, 'caller'),
        ('command_list', {'instance': 'i', 'marker': 'x'}, 'marker'),
        ('command_list', {'instance': 'i', 'marker': True}, 'marker'),
        ('event_list', {'after': -1}, 'after'),
        ('event_list', {'after': 10**30}, 'after'),
    ],
)
def test_a_wrong_argument_is_named(ask, method, arguments, name):
    with pytest.raises(errors.InvalidArgument, match=name):
        ask(method, **arguments)


def test_a_database_that_fails_is_a_reason_to_ask_again(ask, database):
    with database.writer.begin() as connection:
        tables.events.drop(connection)

    try:
        with pytest.raises(errors.Transient, match='database'):
            ask('event_list')
    finally:
        with database.writer.begin() as connection:
            tables.events.create(connection)
