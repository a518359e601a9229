# SPDX-License-Identifier: Apache-2.0
"""A real conductor on a real broker: reports in, answers out."""

import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import urllib.parse
from typing import Any

import pytest

from devstack import processes, stack
from guestagent import errors
from guestagent.conductor.db import versions
from tests.functional import reports

pytestmark = pytest.mark.functional


def _sql(child: stack.Conductor, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the conductor's database; return its rows."""
    with (
        contextlib.closing(sqlite3.connect(child.database, timeout=60)) as connection,
        connection,
    ):
        return connection.execute(statement).fetchall()


def test_what_guests_report_can_be_asked_for(conductor, connect, query):
    conductor()
    publisher = connect()
    guest = reports.Guest(publisher, 'web-1')
    reports.Guest(publisher, 'db-1').event('made', disk='vda')

    guest.heartbeat(exec='ok', monitoring='no /proc')
    guest.facts(True, hostname='web', cpus=2, nics=[{'name': 'ens3'}])
    guest.facts(False, cpus=4, nics=None)
    guest.outcome('c-1', {'exit_code': 0})
    guest.outcome('c-2', None)
    guest.event('ping', round=1)
    processes.wait_for(
        lambda: len(reports.events(query, 'web-1')) > 1, 'the last report was taken'
    )

    [db, web] = query('instance_list')['instances']
    assert (db['id'], db['state'], db['extensions']) == ('db-1', 'NEW', [])
    assert (web['id'], web['state']) == ('web-1', 'UP')
    assert web['extensions'] == ['exec', 'monitoring']
    assert web['started'] == '2023-11-14T22:13:20.000Z'
    assert query('instance_list', state='NEW')['instances'] == [db]
    shown = query('instance_show', instance='web-1')
    assert shown['generation'] == 1
    assert shown['interval'] == 30
    assert shown['extensions']['monitoring'] == {
        'version': '1.0',
        'health': 'no /proc',
        'distribution': 'guestagent-monitoring',
        'distribution_version': '0.1.0',
    }
    facts = query('facts_get', instance='web-1')['facts']
    assert {name: fact['value'] for name, fact in facts.items()} == {
        'monitoring.hostname': 'web',
        'monitoring.cpus': 4,
    }
    assert list(
        query('facts_get', instance='web-1', prefix='monitoring.h')['facts']
    ) == ['monitoring.hostname']
    command = query('command_show', instance='web-1', command_id='c-1')
    assert command['result'] == {'exit_code': 0}
    assert (command['caller'], command['outcome'], command['seconds']) == (
        'tester',
        'done',
        0.25,
    )
    page = query('command_list', instance='web-1', limit=1)
    assert [record['command_id'] for record in page['commands']] == ['c-2']
    rest = query('command_list', instance='web-1', marker=page['next'])
    assert [record['command_id'] for record in rest['commands']] == ['c-1']
    events = reports.events(query, 'web-1')
    assert {event['type'] for event in events} == {'instance.up', 'test.ping'}


def test_a_wrong_query_gets_an_error_that_names_what_is_wrong(
    conductor, connect, query
):
    conductor()
    reports.Guest(connect(), 'web-1').heartbeat()
    reports.wait_state(query, 'web-1', 'UP')

    with pytest.raises(errors.NoSuchInstance, match="'web-2'"):
        query('instance_show', instance='web-2')
    with pytest.raises(errors.NoSuchInstance, match="'web-2'"):
        query('command_show', instance='web-2', command_id='c-1')
    with pytest.raises(errors.NoSuchRecord, match="'c-1'"):
        query('command_show', instance='web-1', command_id='c-1')
    with pytest.raises(errors.InvalidArgument, match='state'):
        query('instance_list', state='SLEEPING')
    with pytest.raises(errors.InvalidArgument, match='limit'):
        query('instance_list', limit=0)
    with pytest.raises(errors.InvalidArgument, match='after'):
        query('event_list', after='yesterday')


def _points(query, instance, name):
    return query('series_get', instance=instance, prefix=name)['series'].get(name, ())


def test_numbers_are_kept_listed_and_drawn(
    conductor, connect, query, guestctl, tmp_path
):
    conductor({'conductor': {'series_step': 0.001}})
    guest = reports.Guest(connect(), 'web-1', interval=3600)
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')
    name = 'monitoring.load.load1m'
    for number in range(5):
        guest.facts(full=not number, load={'load1m': number / 2})
        processes.wait_for(
            lambda count=number + 1: len(_points(query, 'web-1', name)) == count,
            'the point is there',
        )

    listed = guestctl('graph', 'web-1', 'load', '-f', 'json')
    assert [row['value'] for row in json.loads(listed.stdout)] == [0, 0.5, 1, 1.5, 2]
    picture = tmp_path / 'graph.png'
    drawn = guestctl(
        'graph', 'web-1', 'load.load1m', '--since', '1h', '-o', str(picture)
    )
    assert (drawn.returncode, drawn.stdout) == (0, '')
    assert picture.read_bytes().startswith(b'\x89PNG')
    shown = guestctl('top', '--once', '-f', 'json')
    (row,) = json.loads(shown.stdout)
    assert (row['instance'], row['state'], row['load']) == ('web-1', 'UP', 2)
    assert "'web-9'" in guestctl('top', 'web-9', '--once').stderr
    none = guestctl('graph', 'web-1', 'memory')
    assert none.returncode
    assert "no numbers of 'memory'" in none.stderr
    wrong = guestctl('graph', 'web-1', 'load', '-o', 'graph.txt')
    assert "'graph.txt' must end with" in wrong.stderr
    with pytest.raises(errors.InvalidArgument, match='since'):
        query('series_get', instance='web-1', prefix='x', since='soon')
    with pytest.raises(errors.NoSuchInstance):
        query('series_get', instance='web-2', prefix='x')


def test_an_instance_is_down_when_silent_and_stopped_when_it_says_so(
    conductor, connect, query
):
    conductor({'conductor': {'sweep_interval': 0.1}})
    guest = reports.Guest(connect(), 'web-1', interval=0.2)

    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'DOWN')
    guest.interval = 30
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')
    guest.heartbeat(status='stopping')
    reports.wait_state(query, 'web-1', 'STOPPED')
    guest.restart('two')
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')

    events = reports.events(query, 'web-1')
    assert [(event['type'], event['data']['from']) for event in events] == [
        ('instance.up', 'NEW'),
        ('instance.down', 'UP'),
        ('instance.up', 'DOWN'),
        ('instance.stopped', 'UP'),
        ('instance.up', 'STOPPED'),
    ]


def test_garbage_is_let_go_and_takes_nothing_along(conductor, connect, query):
    child = conductor({'conductor': {'max_report_size': 65536}})
    publisher = connect()
    guest = reports.Guest(publisher, 'web-1')
    for body in (
        b'',
        b'\xff\xfe',
        b'[]',
        b'"x"',
        b'{',
        b'{}',
        b'{"payload": 1}',
        b'[' * 50000,
        b'{"oslo.version": "9.0", "oslo.message": "{}"}',
        guest.make('heartbeat', {'status': 'running'}),
        guest.make('event', {'type': 'a\0b', 'at': 1, 'data': {}}),
        guest.make('event', {'type': 'a', 'at': 1, 'data': {'x': 'y' * 70000}}),
    ):
        publisher.send(body)
        guest.outcome('after', {'body': repr(body)[:20]})
    guest.event('last')

    processes.wait_for(
        lambda: reports.events(query, 'web-1'), 'the last report was taken'
    )
    processes.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    assert query('command_show', instance='web-1', command_id='after')['result']
    assert child.stop() == 0
    assert publisher.depth() == 0
    assert 'a report was dropped' in child.output()
    assert '25 reports taken, 12 of them dropped' in child.output()


def test_nothing_is_lost_when_the_conductor_is_killed(conductor, connect, query):
    child = conductor({'conductor': {'batch_size': 20}})
    publisher = connect()
    guests = [reports.Guest(publisher, f'guest-{number}') for number in range(10)]
    count = 60
    killed = 0
    for number in range(count):
        for guest in guests:
            guest.event('round', number=number)
            guest.outcome(f'c-{number}', {'number': number})
        if number % 20 == 10:
            child.kill()
            killed += 1
            child = conductor(wait=False)

    def all_there() -> bool:
        [[events]] = _sql(
            child, "SELECT count(*) FROM events WHERE type = 'test.round'"
        )
        [[commands]] = _sql(child, 'SELECT count(*) FROM commands')
        assert events <= count * len(guests)
        return events == commands == count * len(guests)

    assert killed == 3
    child.wait_for(all_there, 'each report was taken', 120)
    child.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    shown = [event['data']['number'] for event in reports.events(query, 'guest-3')]
    assert sorted(shown) == list(range(count))


def test_two_conductors_share_the_queue(conductor, connect, query):
    first = conductor({'conductor': {'batch_size': 5}})
    first.wait_line('taking reports from')
    second = conductor({'conductor': {'batch_size': 5}})
    second.wait_line('taking reports from')
    publisher = connect()
    guest = reports.Guest(publisher, 'web-1')
    guest.facts(True, a=0, b=0)
    for number in range(1, 101):
        guest.facts(False, a=number)
        guest.event('round', number=number)
        guest.heartbeat()
    processes.wait_for(
        lambda: len(reports.events(query, 'web-1')) == 101, 'each event was taken'
    )
    processes.wait_for(lambda: publisher.depth() == 0, 'the queue is empty')

    assert [child.stop() for child in (first, second)] == [0, 0]
    taken = re.findall(r'stopped: (\d+) reports taken', first.output())
    assert sum(map(int, taken)) == 301
    assert '0' not in taken
    assert dict(_sql(first, 'SELECT name, value FROM facts')) == {
        'monitoring.a': '100',
        'monitoring.b': '0',
    }


def test_it_comes_back_when_the_broker_does(conductor, connect, query, fragile_rabbit):
    child = conductor()
    publisher = connect()
    reports.Guest(publisher, 'web-1').heartbeat()
    reports.wait_state(query, 'web-1', 'UP')

    fragile_rabbit.restart()
    child.wait_ready()
    reports.Guest(connect(), 'web-2').heartbeat()

    reports.wait_state(query, 'web-2', 'UP')
    assert 'no reports are taken' in child.output()


def test_what_the_database_does_not_take_is_taken_later(conductor, connect, query):
    child = conductor()
    publisher = connect()
    guest = reports.Guest(publisher, 'web-1')
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')
    _sql(child, 'ALTER TABLE events RENAME TO away')

    guest.event('kept')
    child.wait_line('no reports are taken: the database: .*events')
    _sql(child, 'ALTER TABLE away RENAME TO events')

    processes.wait_for(
        lambda: [
            event
            for event in reports.events(query, 'web-1')
            if event['type'] == 'test.kept'
        ],
        'the event was taken',
    )


def test_it_starts_and_stops_without_a_broker(
    conductor, bus_url: str, tmp_path: pathlib.Path, children: list[processes.Process]
):
    port = processes.free_port()
    child = stack.Conductor(
        tmp_path,
        f'rabbit://guest:guest@127.0.0.1:{port}/',
        {'conductor': {'graceful_shutdown_timeout': 2}},
    )
    children.append(child)
    child.wait_line('no reports are taken')

    # Whatever oslo.messaging's threads wait for.
    assert child.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(conductor, connect, rabbit, number):
    child = conductor()
    publisher = connect()
    for count in range(200):
        reports.Guest(publisher, f'guest-{count}').heartbeat()
    os.kill(child.pid, number)

    assert child.wait_end() == 0
    taken = int(re.search(r'stopped: (\d+) reports taken', child.output())[1])
    processes.wait_for(
        lambda: taken + publisher.depth() == 200, 'what was not taken is in the queue'
    )
    assert _sql(child, 'SELECT count(*) FROM instances') == [(taken,)]


def test_the_report_queue_is_as_the_wire_says(conductor, bus_url, rabbit):
    conductor({'conductor': {'report_queue_length': 5000}})
    vhost = urllib.parse.urlsplit(bus_url).path[1:]

    queues = json.loads(
        rabbit.ctl(
            'list_queues',
            '-p',
            vhost,
            'name',
            'durable',
            'arguments',
            '--formatter',
            'json',
        )
    )
    [queue] = [queue for queue in queues if queue['name'] == reports.QUEUE]
    assert queue['durable']
    assert sorted(map(tuple, map(_pair, queue['arguments']))) == [
        ('x-max-length', 5000),
        ('x-overflow', 'reject-publish'),
    ]


def test_a_queue_with_other_properties_is_named(conductor, bus_url, connect):
    publisher = connect()
    publisher.channel.queue_declare(reports.QUEUE, durable=True, auto_delete=False)

    child = conductor(wait=False)

    child.wait_line(
        'no reports are taken: .*x-max-length none, not 1000000: delete that queue'
    )


def test_db_sync_makes_the_tables_and_ends(tmp_path: pathlib.Path, children):
    config = tmp_path / 'conductor.conf'
    database = tmp_path / 'of-its-own.sqlite'
    stack.write_config(config, {'database': {'connection': f'sqlite:///{database}'}})
    command = [stack.script('guestagent-conductor'), '--config-file', config]
    child = processes.Process('sync', [*command, '--db-sync'], tmp_path / 'sync.log')
    children.append(child)

    assert child.wait_end() == 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        [(revision,)] = connection.execute('SELECT * FROM alembic_version').fetchall()
    steps = pathlib.Path(versions.__path__[0]).glob('*_*.py')
    assert revision == max(step.name.partition('_')[0] for step in steps)


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        ({'conductor': {'batch_size': 'many'}}, 2, 'batch_size'),
        ({'conductor': {'batch_size': 0}}, 2, 'batch_size'),
        ({'DEFAULT': {'transport_url': 'rabbit://h:port/'}}, 2, 'transport_url'),
        ({'DEFAULT': {'transport_url': 'fake://'}}, 2, 'not fake://'),
        ({'database': {'connection': 'nonsense'}}, 2, r'\[database\] connection'),
        (
            {'database': {'connection': 'sqlite:////no/such/x.sqlite'}},
            1,
            r'\[database\] connection',
        ),
    ],
)
def test_a_wrong_configuration_is_one_line(
    conductor, options: stack.Options, code: int, message: str
):
    child = conductor(options, wait=False)

    assert child.wait_end() == code
    [line] = child.output().splitlines()
    assert line.startswith('guestagent-conductor: ')
    assert re.search(message, line)


def _pair(argument: Any) -> Any:
    return (argument[0], argument[-1]) if isinstance(argument, list) else argument
