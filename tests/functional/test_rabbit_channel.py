# SPDX-License-Identifier: Apache-2.0
"""An error of the channel costs the channel: not the connection, not the agent."""

import json
import threading

import pytest

from devstack import processes
from tests.functional import faults, raw

pytestmark = pytest.mark.functional

REPORTS = 'guestagent_reports'


@pytest.fixture
def client(bus_url):
    with raw.RawClient(bus_url) as made:
        yield made


@pytest.fixture
def start(agent, rabbit):
    """``start(instance, **rabbit)``: an agent, and the name of its connection."""

    def start(instance=None, **options):
        guest = agent(instance, faults.options(**options), extensions='probe')
        name = processes.wait_for(
            lambda: faults.connection(rabbit, guest.instance), 'its connection'
        )
        return guest, name

    return start


@pytest.fixture
def call(stock_client):
    """``call(guest)``: wait until it answers."""

    def call(guest):
        client = stock_client(guest.instance, timeout=5, namespace='probe')
        faults.wait_answer(client)

    return call


def take_reports(channel):
    """Make the queue of reports, as a conductor does."""
    channel.exchange_declare(REPORTS, 'topic', durable=True, auto_delete=False)
    channel.queue_declare(f'{REPORTS}.info', durable=True, auto_delete=False)
    channel.queue_bind(f'{REPORTS}.info', REPORTS, f'{REPORTS}.info')


def outcomes(channel):
    """Return the command ids of the outcomes that wait, and take all reports."""
    found = []
    while message := channel.basic_get(f'{REPORTS}.info', no_ack=True):
        payload = json.loads(json.loads(message.body)['oslo.message'])['payload']
        if payload['kind'] == 'outcome':
            found.append(payload['data']['command_id'])
    return found


def test_the_exchange_of_reports_is_deleted(
    start, call, client, rabbit, stock_client, tmp_path
):
    take_reports(client.channel)
    guest, connection = start()
    probe = stock_client(guest.instance, timeout=120, namespace='probe')
    got, there = [], tmp_path / 'there'
    caller = threading.Thread(
        target=lambda: got.append(probe.call({}, 'climb', to=str(there)))
    )
    caller.start()

    client.channel.exchange_delete(REPORTS)
    for number in range(5):
        probe.cast({'guestagent_command_id': f'id-{number}'}, 'mark', text='x')
    guest.wait_line("closed the channel: .*no exchange 'guestagent_reports'")

    there.touch()
    caller.join(120)
    assert got == ['there']
    guest.wait_line('(connected to RabbitMQ(.|\n)*){2}')
    take_reports(client.channel)
    found = []
    processes.wait_for(
        lambda: found.extend(outcomes(client.channel)) or len(set(found)) >= 5,
        'outcomes',
    )
    # One whose confirm was lost with the channel comes twice.
    assert sorted(set(found)) == [f'id-{number}' for number in range(5)]
    assert faults.connection(rabbit, guest.instance) == connection
    assert 'Traceback' not in guest.output()


def test_the_control_exchange_is_deleted(start, call, client, rabbit):
    guest, connection = start(redeclare_interval=1)
    call(guest)

    client.channel.exchange_delete('guestagent')
    client.channel.exchange_delete(f'guestagent.{guest.instance}_fanout')

    call(guest)
    assert faults.connection(rabbit, guest.instance) == connection


def test_the_request_queue_is_deleted(start, call, client, rabbit):
    guest, connection = start()

    for _ in range(2):
        client.channel.queue_delete(f'guestagent.{guest.instance}')
        call(guest)

    assert guest.output().count('was deleted, or its node is down') == 2
    assert faults.connection(rabbit, guest.instance) == connection
    assert guest.output().count('connected to RabbitMQ') == 1


def test_a_queue_that_a_stock_server_left_may_go(start, call, client):
    client.channel.queue_declare('guestagent.adopter.adopter', auto_delete=False)
    guest, _ = start(instance='adopter')
    guest.wait_line('a stock server has left')

    client.channel.queue_delete('guestagent.adopter.adopter')

    call(guest)
    assert 'closed the channel' not in guest.output()
    assert 'was deleted' not in guest.output()


def declare_exchange(name, kind='topic', **flags):
    def declare(channel):
        channel.exchange_declare(name, kind, **{'auto_delete': False, **flags})
        return lambda: channel.exchange_delete(name)

    return declare


def declare_queue(**flags):
    def declare(channel):
        channel.queue_declare('guestagent.other', **{'auto_delete': False, **flags})
        return lambda: channel.queue_delete('guestagent.other')

    return declare


@pytest.mark.parametrize(
    ('declare', 'says'),
    [
        (
            declare_exchange('guestagent', durable=True),
            "exchange 'guestagent' with durable true, not false: set "
            r'\[oslo_messaging_rabbit\] amqp_durable_queues',
        ),
        (
            declare_exchange('guestagent', auto_delete=True),
            "exchange 'guestagent' with auto_delete true, not false: set "
            r'\[oslo_messaging_rabbit\] amqp_auto_delete',
        ),
        (
            declare_exchange('guestagent', 'direct'),
            "exchange 'guestagent' with type direct, not topic: delete",
        ),
        (
            declare_exchange(
                'guestagent.other_fanout', 'fanout', durable=True, auto_delete=True
            ),
            'set .* rabbit_transient_quorum_queue',
        ),
        (
            declare_exchange(REPORTS),
            "exchange 'guestagent_reports' with durable false, not true: delete",
        ),
        (declare_queue(durable=True), 'set .* amqp_durable_queues or rabbit_quorum'),
        (
            declare_queue(durable=True, arguments={'x-queue-type': 'quorum'}),
            'set .* (amqp_durable_queues or )?rabbit_quorum_queue',
        ),
    ],
    ids=[
        'durable',
        'auto-delete',
        'type',
        'fanout',
        'reports',
        'durable-queue',
        'quorum-queue',
    ],
)
def test_other_flags_are_named_and_waited_for(
    agent, call, client, rabbit, declare, says
):
    delete = declare(client.channel)
    guest = agent('other', faults.options(), wait=False, extensions='probe')
    guest.wait_line(f'closed the channel: another program has declared .*{says}')
    connection = faults.connection(rabbit, 'other')
    # The waits begin at 0.1 s and double, to 1 s; half of each is left to chance.
    guest.wait_line(r'next attempt in 0\.[12] s')
    guest.wait_line(r'next attempt in (0\.[6-9]|1\.0) s')

    delete()

    call(guest)
    assert faults.connection(rabbit, 'other') == connection
    assert 'Traceback' not in guest.output()
