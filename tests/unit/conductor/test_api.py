# SPDX-License-Identifier: Apache-2.0
"""The endpoint, without a bus: pages, and arguments that are wrong."""

import oslo_messaging
import pytest
import sqlalchemy as sa

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
        ('instance_delete', {'instance': 'x'}),
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
        ('instance_list', {'name': 5}, 'name'),
        ('instance_list', {'extension': 'a\n'}, 'extension'),
        ('instance_list', {'agent_version': []}, 'agent_version'),
        ('instance_list', {'conflict': 1}, 'conflict'),
        ('instance_delete', {'instance': 'i', 'force': 1}, 'force'),
        ('command_list', {'outcome': 'good'}, 'outcome'),
        ('command_list', {'outcome': []}, 'outcome'),
        ('command_list', {'since': 'yesterday'}, 'since'),
        ('command_list', {'until': True}, 'until'),
        ('event_list', {'since': float('nan')}, 'since'),
        ('event_list', {'since': 10**400}, 'since'),
        ('event_list', {'type': {}}, 'type'),
        ('event_list', {'newest': 'yes'}, 'newest'),
        ('event_list', {'after': -1}, 'after'),
        ('event_list', {'after': 10**30}, 'after'),
        ('instance_show', {}, "instance_show: .*'instance'"),
        ('instance_list', {'colour': 'red'}, "instance_list: .*'colour'"),
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


@pytest.fixture
def fleet(records, make):
    """Three guests with two events and one outcome each, ten seconds apart."""
    for number, (name, version) in enumerate(
        (('web-1', '1.0'), ('WEB_2', '2.0'), ('db.1', '2.0'))
    ):
        records.apply(
            [
                make(
                    'heartbeat',
                    name,
                    agent_version=version,
                    extensions={
                        extension: {'version': '1.0', 'health': 'ok'}
                        for extension in ('exec', 'file')[: number + 1]
                    },
                ),
                make('event', name, sequence=1, type='disk.full'),
                make('event', name, sequence=2, type='disk_x[1]'),
                make(
                    'outcome',
                    name,
                    caller=f'caller-{number}',
                    command=('exec.run', 'file.read', 'exec.list')[number],
                    outcome=('done', 'failed', 'done')[number],
                ),
            ],
            100.0 + 10 * number,
        )


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        ({'name': 'web*'}, ['web-1']),
        ({'name': '*[1]'}, []),
        ({'name': 'WEB_?'}, ['WEB_2']),
        ({'name': 'web_1'}, []),
        ({'name': 'db.1'}, ['db.1']),
        ({'name': 'd%1'}, []),
        ({'name': '*1'}, ['db.1', 'web-1']),
        ({'extension': 'file'}, ['WEB_2', 'db.1']),
        ({'agent_version': '2.0', 'state': 'UP'}, ['WEB_2', 'db.1']),
        ({'agent_version': '2.0', 'name': 'w*'}, []),
    ],
)
def test_instances_by_what_they_are(ask, fleet, filters, expected):
    found = ask('instance_list', **filters)['instances']

    assert sorted(item['id'] for item in found) == expected


def test_instances_whose_id_two_agents_have(ask, records, make):
    records.apply([make('heartbeat', 'single'), make('heartbeat', 'twin')], 100.0)
    for second in range(1, 30):
        records.apply(
            [
                make('heartbeat', 'twin', sequence=second + 1, interval=1),
                make('heartbeat', 'twin', 'two', second, interval=1),
            ],
            100.0 + second,
        )

    [twin] = ask('instance_list', conflict=True)['instances']
    [single] = ask('instance_list', conflict=False)['instances']

    assert (twin['id'], single['id'], single['conflict']) == ('twin', 'single', None)
    assert twin['conflict']['generations'] == [2, 1]
    assert twin['conflict'] == ask('instance_show', instance='twin')['conflict']


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        ({}, ['db.1', 'WEB_2', 'web-1']),
        ({'instance': 'WEB_2'}, ['WEB_2']),
        ({'outcome': 'done'}, ['db.1', 'web-1']),
        ({'caller': 'caller-1'}, ['WEB_2']),
        ({'command': 'exec.*'}, ['db.1', 'web-1']),
        ({'since': 110}, ['db.1', 'WEB_2']),
        ({'until': 110}, ['web-1']),
        ({'since': '1970-01-01T00:01:50Z', 'until': '1970-01-01 00:02'}, ['WEB_2']),
        ({'since': '1970-01-01T02:01:50+02:00', 'outcome': 'failed'}, ['WEB_2']),
    ],
)
def test_commands_by_what_they_are(ask, fleet, filters, expected):
    found = ask('command_list', **filters)['commands']

    assert [record['instance'] for record in found] == expected


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        ({'type': 'disk.full', 'since': 110}, ['disk.full'] * 2),
        ({'type': '*[1]', 'until': 110.5}, ['disk_x[1]'] * 2),
        ({'type': 'disk_full'}, []),
        ({'instance': 'db.1', 'type': 'disk*'}, ['disk.full', 'disk_x[1]']),
    ],
)
def test_events_by_what_they_are(ask, fleet, filters, expected):
    found = ask('event_list', **filters)['events']

    assert [event['type'] for event in found] == expected


def test_the_newest_events_are_the_last_page(ask, fleet):
    everything = ask('event_list')['events']

    assert ask('event_list', newest=True, limit=2) == {
        'events': everything[-2:],
        'next': None,
    }


def names(database, table):
    """Return the instances that a table has rows of."""
    column = table.c.get('instance', table.c.get('id'))
    if column is None:
        return set()
    with database.reader.begin() as connection:
        return set(connection.scalars(sa.select(column)))


def test_a_deleted_instance_leaves_one_event(ask, fleet, database, records, make):
    records.apply([make('facts', 'WEB_2', full=True, facts={'a': 1})], 120.0)
    last = ask('event_list', newest=True, limit=1)['events'][0]

    with pytest.raises(errors.Refused, match="'WEB_2' is UP"):
        ask('instance_delete', instance='WEB_2')
    assert ask('instance_show', instance='WEB_2')['state'] == 'UP'
    answer = ask('instance_delete', instance='WEB_2', force=True)

    assert answer == {'deleted': 'WEB_2', 'state': 'UP'}
    assert {
        table.name
        for table in tables.metadata.tables.values()
        if names(database, table) & {'WEB_2'}
    } == {'events'}
    (left,) = [
        event for event in ask('event_list')['events'] if event['instance'] == 'WEB_2'
    ]
    assert left['type'] == 'instance.deleted'
    assert left['id'] > last['id']


def test_a_deleted_instance_may_come_back(ask, records, make):
    records.apply([make('heartbeat', sequence=5, status='stopping')], 100.0)
    assert ask('instance_delete', instance='i')['state'] == 'STOPPED'
    with pytest.raises(errors.NoSuchInstance):
        ask('instance_delete', instance='i')

    records.apply([make('heartbeat', sequence=1)], 200.0)

    assert ask('instance_show', instance='i')['generation'] == 1
