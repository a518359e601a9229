# SPDX-License-Identifier: Apache-2.0
"""A real conductor on a real broker: reports in, answers out."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Self

import amqp
import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, stack
from guestagent import errors
from guestagent.bus import envelope

pytestmark = pytest.mark.functional

EXCHANGE, QUEUE = 'guestagent_reports', 'guestagent_reports.info'

Query = Callable[..., Any]


class Publisher:
    """Publishes reports as an agent does: persistent, mandatory, confirmed."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._connection = amqp.Connection(
            f'{parts.hostname}:{parts.port}',
            userid=parts.username,
            password=parts.password,
            virtual_host=parts.path[1:],
            confirm_publish=True,
        )
        self._connection.connect()
        self.channel = self._connection.channel()

    def send(self, body: str | bytes) -> None:
        self.channel.basic_publish(
            amqp.Message(
                body,
                delivery_mode=2,
                content_type='application/json',
                content_encoding='utf-8',
            ),
            EXCHANGE,
            QUEUE,
            mandatory=True,
        )

    def depth(self) -> int:
        """Return how many messages wait in the queue, those not taken yet."""
        return self.channel.queue_declare(QUEUE, passive=True).message_count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A broker that was stopped meanwhile has closed it already.
        with contextlib.suppress(OSError, amqp.AMQPError):
            self._connection.close()


class Guest:
    """Makes the reports of one instance, in order."""

    def __init__(
        self,
        publisher: Publisher,
        name: str,
        generation: str = 'one',
        interval: float = 30,
    ) -> None:
        self.name = name
        self.generation = generation
        self.interval = interval
        self._publisher = publisher
        self._sequences: dict[str, Iterator[int]] = {}

    def restart(self, generation: str) -> None:
        self.generation = generation
        self._sequences.clear()

    def make(self, kind: str, data: dict[str, Any]) -> str:
        sequence = next(self._sequences.setdefault(kind, itertools.count(1)))
        return envelope.notification(
            f'guestagent.{self.name}',
            f'guestagent.{kind}',
            {
                'instance': self.name,
                'kind': kind,
                'generation': self.generation,
                'sequence': sequence,
                'boot_id': 'boot-1',
                'sent': time.time(),
                'data': data,
            },
            envelope.unique_id(),
        )

    def send(self, kind: str, data: dict[str, Any]) -> None:
        self._publisher.send(self.make(kind, data))

    def heartbeat(self, status: str = 'running', **extensions: str) -> None:
        self.send(
            'heartbeat',
            {
                'status': status,
                'agent_version': '0.1.0',
                'interval': self.interval,
                'started': 1700000000.0,
                'dropped': 0,
                'extensions': {
                    name: {
                        'version': '1.0',
                        'health': health,
                        'distribution': f'guestagent-{name}',
                        'distribution_version': '0.1.0',
                    }
                    for name, health in extensions.items()
                },
            },
        )

    def facts(self, full: bool, **facts: Any) -> None:
        self.send(
            'facts',
            {
                'full': full,
                'facts': {f'monitoring.{name}': value for name, value in facts.items()},
            },
        )

    def outcome(self, command_id: str, result: Any, caller: str = 'tester') -> None:
        self.send(
            'outcome',
            {
                'command_id': command_id,
                'caller': caller,
                'command': 'exec.run',
                'digest': 'd' * 64,
                'outcome': 'done',
                'result': result,
                'error': None,
                'started': 1700000001.5,
                'seconds': 0.25,
            },
        )

    def event(self, name: str, **data: Any) -> None:
        self.send('event', {'type': f'test.{name}', 'at': 1700000002.0, 'data': data})


@pytest.fixture
def connect(bus_url: str) -> Iterator[Callable[[], Publisher]]:
    """``connect()``: return a publisher; ``conductor()`` declares its exchange."""
    with contextlib.ExitStack() as stack_of_publishers:
        yield lambda: stack_of_publishers.enter_context(Publisher(bus_url))


@pytest.fixture
def query(bus_url: str) -> Iterator[Query]:
    """``query(method, **arguments)``: ask as a stock client does."""
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_rpc_transport(
        conf, bus_url, allowed_remote_exmods=['guestagent.errors']
    )
    client = oslo_messaging.get_rpc_client(
        transport,
        oslo_messaging.Target(
            exchange='guestagent',
            topic='guestagent-conductor',
            namespace='conductor',
            version='1.0',
        ),
        timeout=20,
    )

    def ask(method: str, **arguments: Any) -> Any:
        return client.call({}, method, **arguments)

    yield ask
    transport.cleanup()


def _sql(child: stack.Conductor, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the conductor's database; return its rows."""
    with contextlib.closing(sqlite3.connect(child.database)) as connection, connection:
        return connection.execute(statement).fetchall()


def _state(query: Query, name: str) -> str | None:
    try:
        return query('instance_show', instance=name)['state']
    except errors.NoSuchInstance:
        return None


def _events(query: Query, name: str) -> list[dict[str, Any]]:
    try:
        return query('event_list', instance=name, limit=1000)['events']
    except errors.NoSuchInstance:
        return []


def _wait_state(query: Query, name: str, state: str) -> None:
    processes.wait_for(lambda: _state(query, name) == state, f'{name} is {state}')


def test_what_guests_report_can_be_asked_for(conductor, connect, query):
    conductor()
    publisher = connect()
    guest = Guest(publisher, 'web-1')
    Guest(publisher, 'db-1').event('made', disk='vda')

    guest.heartbeat(exec='ok', monitoring='no /proc')
    guest.facts(True, hostname='web', cpus=2, nics=[{'name': 'ens3'}])
    guest.facts(False, cpus=4, nics=None)
    guest.outcome('c-1', {'exit_code': 0})
    guest.outcome('c-2', None)
    guest.event('ping', round=1)
    processes.wait_for(
        lambda: len(_events(query, 'web-1')) > 1, 'the last report was taken'
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
    events = _events(query, 'web-1')
    assert {event['type'] for event in events} == {'instance.up', 'test.ping'}


def test_a_wrong_query_gets_an_error_that_names_what_is_wrong(
    conductor, connect, query
):
    conductor()
    Guest(connect(), 'web-1').heartbeat()
    _wait_state(query, 'web-1', 'UP')

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


def test_an_instance_is_down_when_silent_and_stopped_when_it_says_so(
    conductor, connect, query
):
    conductor({'conductor': {'sweep_interval': 0.1}})
    guest = Guest(connect(), 'web-1', interval=0.2)

    guest.heartbeat()
    _wait_state(query, 'web-1', 'DOWN')
    guest.interval = 30
    guest.heartbeat()
    _wait_state(query, 'web-1', 'UP')
    guest.heartbeat(status='stopping')
    _wait_state(query, 'web-1', 'STOPPED')
    guest.restart('two')
    guest.heartbeat()
    _wait_state(query, 'web-1', 'UP')

    events = _events(query, 'web-1')
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
    guest = Guest(publisher, 'web-1')
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

    processes.wait_for(lambda: _events(query, 'web-1'), 'the last report was taken')
    processes.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    assert query('command_show', instance='web-1', command_id='after')['result']
    assert child.stop() == 0
    assert publisher.depth() == 0
    assert 'a report was dropped' in child.output()
    assert '25 reports taken, 12 of them dropped' in child.output()


def test_nothing_is_lost_when_the_conductor_is_killed(conductor, connect, query):
    child = conductor({'conductor': {'batch_size': 20}})
    publisher = connect()
    guests = [Guest(publisher, f'guest-{number}') for number in range(10)]
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
    child.wait_for(all_there, 'each report was taken', 60)
    child.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    shown = [event['data']['number'] for event in _events(query, 'guest-3')]
    assert sorted(shown) == list(range(count))


def test_two_conductors_share_the_queue(conductor, connect, query):
    first = conductor({'conductor': {'batch_size': 5}})
    second = conductor({'conductor': {'batch_size': 5}})
    second.wait_line('taking reports from')
    publisher = connect()
    guest = Guest(publisher, 'web-1')
    guest.facts(True, a=0, b=0)
    for number in range(1, 101):
        guest.facts(False, a=number)
        guest.event('round', number=number)
        guest.heartbeat()
    processes.wait_for(
        lambda: len(_events(query, 'web-1')) == 101, 'each event was taken'
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


def test_it_comes_back_when_the_broker_does(conductor, connect, query, rabbit):
    child = conductor()
    publisher = connect()
    Guest(publisher, 'web-1').heartbeat()
    _wait_state(query, 'web-1', 'UP')

    rabbit.restart()
    child.wait_ready()
    Guest(connect(), 'web-2').heartbeat()

    _wait_state(query, 'web-2', 'UP')
    assert 'no reports are taken' in child.output()


def test_what_the_database_does_not_take_is_taken_later(conductor, connect, query):
    child = conductor()
    publisher = connect()
    guest = Guest(publisher, 'web-1')
    guest.heartbeat()
    _wait_state(query, 'web-1', 'UP')
    _sql(child, 'ALTER TABLE events RENAME TO away')

    guest.event('kept')
    child.wait_line('no reports are taken: the database: .*events')
    _sql(child, 'ALTER TABLE away RENAME TO events')

    processes.wait_for(
        lambda: [
            event for event in _events(query, 'web-1') if event['type'] == 'test.kept'
        ],
        'the event was taken',
    )


def test_it_starts_and_stops_without_a_broker(
    conductor, bus_url: str, tmp_path: pathlib.Path, children: list[processes.Process]
):
    port = processes.free_port()
    child = stack.Conductor(tmp_path, f'rabbit://guest:guest@127.0.0.1:{port}/')
    children.append(child)
    child.wait_line('no reports are taken')

    begin = time.monotonic()
    assert child.stop() == 0
    assert time.monotonic() - begin < 12


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(conductor, connect, rabbit, number):
    child = conductor()
    publisher = connect()
    for count in range(200):
        Guest(publisher, f'guest-{count}').heartbeat()
    os.kill(child.pid, number)

    assert child.wait_end(15) == 0
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
    [queue] = [queue for queue in queues if queue['name'] == QUEUE]
    assert queue['durable']
    assert sorted(map(tuple, map(_pair, queue['arguments']))) == [
        ('x-max-length', 5000),
        ('x-overflow', 'reject-publish'),
    ]


def test_a_queue_with_other_properties_is_named(conductor, bus_url, connect):
    publisher = connect()
    publisher.channel.queue_declare(QUEUE, durable=True, auto_delete=False)

    child = conductor(wait=False)

    child.wait_line('no reports are taken: .*set report_queue_length as before')


def test_db_sync_makes_the_tables_and_ends(tmp_path: pathlib.Path, children):
    config = tmp_path / 'conductor.conf'
    database = tmp_path / 'of-its-own.sqlite'
    stack.write_config(config, {'database': {'connection': f'sqlite:///{database}'}})
    command = [stack.script('guestagent-conductor'), '--config-file', config]
    child = processes.Process('sync', [*command, '--db-sync'], tmp_path / 'sync.log')
    children.append(child)

    assert child.wait_end() == 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute('SELECT * FROM alembic_version').fetchall() == [
            ('0002',)
        ]


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        ({'conductor': {'batch_size': 'many'}}, 2, 'batch_size'),
        ({'conductor': {'batch_size': 0}}, 2, 'batch_size'),
        ({'DEFAULT': {'transport_url': 'rabbit://h:port/'}}, 2, 'transport_url'),
        ({'DEFAULT': {'transport_url': 'fake://'}}, 2, 'RabbitMQ only'),
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
