# SPDX-License-Identifier: Apache-2.0
"""From a stock oslo.messaging client through RabbitMQ and the agent, and back."""

import concurrent.futures
import json
import time

import amqp
import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes
from guestagent import errors
from tests.functional import raw

pytestmark = pytest.mark.functional


@pytest.fixture
def client(bus_url):
    with raw.RawClient(bus_url) as made:
        yield made


def marks(tmp_path):
    path = tmp_path / 'marks'
    return path.read_text().split() if path.exists() else []


def test_a_call_a_cast_and_a_fanout(agent, stock_client, tmp_path):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe', version='1.0')

    assert probe.call({}, 'echo', value={'a': [1, None]}) == {'a': [1, None]}
    probe.cast({}, 'mark', text='cast')
    probe.prepare(fanout=True).cast({}, 'mark', text='fanout')
    probe.prepare(server=guest.instance).cast({}, 'mark', text='server')

    processes.wait_for(lambda: len(marks(tmp_path)) == 3, 'three marks')
    assert sorted(marks(tmp_path)) == ['cast', 'fanout', 'server']


def test_the_context_arrives(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')
    context = {
        'user': 'ü',
        'roles': ['a'],
        'guestagent_caller': 'nova',
        'guestagent_command_id': 'id-1',
    }

    seen = probe.call(context, 'seen')

    assert seen['values'].items() >= context.items()
    assert (seen['caller'], seen['id']) == ('nova', 'id-1')


def test_errors_are_raised_as_what_they_are(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')

    with pytest.raises(errors.InvalidArgument, match='makes no sense'):
        probe.call({}, 'fail', kind='ours')
    with pytest.raises(LookupError, match='nothing there'):
        probe.call({}, 'fail', kind='builtin')
    with pytest.raises(oslo_messaging.RemoteError) as caught:
        probe.call({}, 'fail', kind='odd')
    assert caught.value.exc_type == 'Odd'
    with pytest.raises(TypeError, match="'seconds' must be float, not str"):
        probe.call({}, 'sleep', seconds='long')
    with pytest.raises(errors.BadResult, match='cannot be sent as JSON'):
        probe.call({}, 'unsendable')


def test_a_result_that_is_too_large_is_named(agent, stock_client):
    guest = agent(
        extensions='probe', options={'dispatcher': {'max_result_size': 100_000}}
    )
    probe = stock_client(guest.instance, namespace='probe')

    assert len(probe.call({}, 'large', size=90_000)) == 90_000
    with pytest.raises(errors.ResultTooLarge, match='max_result_size'):
        probe.call({}, 'large', size=200_000)


def test_a_command_past_its_limit_is_answered_and_cancelled(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')

    began = time.monotonic()
    with pytest.raises(errors.CommandTimeout, match='within 1 seconds'):
        probe.call({}, 'hang', seconds=50)
    assert time.monotonic() - began < 50
    assert probe.call({}, 'echo', value=1) == 1


def test_call_monitoring_keeps_a_long_call_alive(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')

    monitored = probe.prepare(call_monitor_timeout=4)

    assert monitored.call({}, 'sleep', seconds=5) == 'slept'


def test_busy_and_ping_with_the_pool_full_and_a_thousand_calls_queued(
    agent, stock_client, client
):
    guest = agent(
        extensions='probe',
        options={
            'DEFAULT': {'graceful_shutdown_timeout': 0},
            'dispatcher': {'workers': 2, 'backlog': 3},
        },
    )
    probe = stock_client(guest.instance, namespace='probe')
    topic = f'guestagent.{guest.instance}'
    for number in range(1000):
        client.send(
            topic,
            {
                'method': 'sleep',
                'namespace': 'probe',
                'args': {'seconds': 600},
                '_msg_id': f'm{number}',
                '_reply_q': client.reply_queue,
            },
        )
    # Another channel's message could overtake them: wait until they have come.
    processes.wait_for(lambda: client.depth(topic) == 0, 'the queue is empty')

    # Long before one of them ends.
    ping = stock_client(guest.instance, timeout=60)
    assert ping.call({}, 'oslo_rpc_server_ping') == 'pong'
    with pytest.raises(errors.Busy):
        probe.call({}, 'echo', value=1)
    refused = [client.receive(60) for _ in range(995)]
    assert all('Busy' in reply['failure'] for reply in refused)


def test_what_waited_for_the_agent_is_found(agent, stock_client, tmp_path):
    guest = agent(instance='waited', extensions='probe')
    probe = stock_client('waited', namespace='probe')
    guest.stop()

    probe.cast({}, 'mark', text='topic')
    probe.prepare(server='waited').cast({}, 'mark', text='server')
    probe.prepare(fanout=True).cast({}, 'mark', text='fanout')
    with pytest.raises(oslo_messaging.MessagingTimeout):
        probe.prepare(timeout=0.5).call({}, 'mark', text='expired')
    agent(instance='waited', extensions='probe')

    processes.wait_for(lambda: len(marks(tmp_path)) >= 3, 'three marks')
    assert probe.call({}, 'mark', text='last') == 4
    assert sorted(marks(tmp_path)) == ['fanout', 'last', 'server', 'topic']


def test_what_a_stock_server_left_is_found(agent, stock_client, bus_url, tmp_path):
    conf = cfg.CONF
    transport = oslo_messaging.get_rpc_transport(conf, bus_url)
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(
            topic='guestagent.old', server='old', exchange='guestagent'
        ),
        [],
    )
    server.start()
    server.stop()
    server.wait()
    transport.cleanup()
    probe = stock_client('old', namespace='probe')
    probe.cast({}, 'mark', text='topic')
    probe.prepare(server='old').cast({}, 'mark', text='server')

    agent(instance='old', extensions='probe')

    processes.wait_for(lambda: len(marks(tmp_path)) == 2, 'two marks')
    probe.prepare(server='old').cast({}, 'mark', text='once')
    assert probe.call({}, 'mark', text='last') >= 3
    processes.wait_for(lambda: len(marks(tmp_path)) == 4, 'four marks')
    assert sorted(marks(tmp_path)) == ['last', 'once', 'server', 'topic']


def test_a_repeated_command_runs_once_and_has_one_answer(agent, stock_client, tmp_path):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')
    context = {'guestagent_command_id': 'c1', 'guestagent_caller': 'a'}

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(
            pool.map(
                lambda _: probe.call(context, 'mark', text='x', seconds=1), range(5)
            )
        )
    late = probe.call(context, 'mark', text='x', seconds=1)

    assert [*answers, late] == [1] * 6
    with pytest.raises(errors.IdReused):
        probe.call(context, 'mark', text='y')
    other = {**context, 'guestagent_caller': 'b'}
    assert probe.call(other, 'mark', text='x', seconds=1) == 2
    assert marks(tmp_path) == ['x', 'x']


def test_a_repeated_secret_is_withheld(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')
    context = {'guestagent_command_id': 'c1'}

    assert probe.call(context, 'secret') == 'hunter2'
    assert probe.call(context, 'secret') is None


def test_periodic_methods_run(agent, tmp_path):
    agent(extensions='probe', options={'probe': {'period': 0.1}})

    processes.wait_for(lambda: marks(tmp_path).count('tick') > 3, 'ticks')


def test_extensions_ask_each_other(agent, stock_client):
    guest = agent(extensions='probe,monitoring')
    probe = stock_client(guest.instance, namespace='probe')

    with pytest.raises(errors.ExtensionUnavailable, match="'exec' is not loaded"):
        probe.call({}, 'ask', other='exec', command='run')
    assert probe.call({}, 'ask', other='probe', command='echo') is None


@pytest.mark.parametrize(
    'options', [{'amqp_durable_queues': True}, {'rabbit_quorum_queue': True}]
)
def test_what_is_declared_fits_oslo_messagings(agent, bus_url, options, client):
    guest = agent(extensions='probe', options={'oslo_messaging_rabbit': options})
    topic = f'guestagent.{guest.instance}'
    arguments = {'x-queue-type': 'quorum'} if 'rabbit_quorum_queue' in options else {}

    # A declaration with other flags would be refused with 406.
    client.channel.exchange_declare(
        'guestagent', 'topic', durable=True, auto_delete=False
    )
    client.channel.exchange_declare(
        f'{topic}_fanout', 'fanout', durable=False, auto_delete=True
    )
    client.channel.queue_declare(
        topic, durable=True, auto_delete=False, arguments=arguments
    )
    with pytest.raises(amqp.PreconditionFailed):
        client.channel.queue_declare(topic, durable=False, auto_delete=False)


def test_commands_are_listed_and_cancelled_with_every_worker_taken(
    agent, stock_client, client
):
    guest = agent(
        extensions='probe', options={'dispatcher': {'workers': 1, 'backlog': 1}}
    )
    core = stock_client(guest.instance, namespace='agent')
    probe = stock_client(guest.instance, namespace='probe')
    for name in ('first', 'second'):
        client.send(
            f'guestagent.{guest.instance}',
            {
                'method': 'sleep',
                'namespace': 'probe',
                'args': {'seconds': 600},
                '_msg_id': name,
                '_reply_q': client.reply_queue,
                '_context_guestagent_command_id': name,
                '_context_guestagent_caller': 'me',
            },
        )
    processes.wait_for(
        lambda: [c['state'] for c in core.call({}, 'list')] == ['running', 'waiting'],
        'one runs and one waits',
    )

    assert core.call({}, 'status', command_id='second', caller='me')['state'] == (
        'waiting'
    )
    assert core.call({}, 'cancel', command_id='first', caller='other') == {
        'cancelled': 0
    }
    for name in ('second', 'first'):
        cancelled = core.call({'guestagent_caller': 'op'}, 'cancel', command_id=name)
        assert cancelled == {'cancelled': 1}
        reply = client.receive(60)
        failure = json.loads(reply['failure'])
        assert (reply['_msg_id'], failure['class']) == (name, 'Cancelled')
        assert 'cancelled by op' in failure['message']
    assert probe.call({}, 'echo', value=1) == 1
    assert core.call({}, 'list') == []


def test_the_status_of_a_command_outlives_it(agent, stock_client):
    guest = agent(extensions='probe')
    core = stock_client(guest.instance, namespace='agent')
    context = {'guestagent_command_id': 'c1', 'guestagent_caller': 'me'}
    stock_client(guest.instance, namespace='probe').call(context, 'mark', text='x')

    assert core.call({}, 'status', command_id='c1', caller='me') == {
        'command_id': 'c1',
        'caller': 'me',
        'state': 'done',
        'error': None,
    }
    with pytest.raises(errors.NoSuchRecord, match="no command 'c2' of 'me'"):
        core.call({}, 'status', command_id='c2', caller='me')
