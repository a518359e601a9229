# SPDX-License-Identifier: Apache-2.0
"""Requests that are larger than an agent reads, and what they cost it."""

import json
import pathlib
import re

import pytest

from guestagent import errors
from tests.functional import raw

pytestmark = pytest.mark.functional

MIB = 2**20
LIMIT = 'max_message_size allows 16777216'


def memory(process, field):
    """Return a field of a process's status (``VmRSS``, ``VmHWM``) in bytes."""
    text = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    return int(re.search(rf'{field}:\s+(\d+) kB', text)[1]) * 1024


def echo(value):
    return {'method': 'echo', 'namespace': 'probe', 'args': {'value': value}}


def asking(client, value):
    """Return a request whose last keys are those of who asks, as in stock clients."""
    return {**echo(value), '_msg_id': 'm', '_reply_q': client.reply_queue}


@pytest.fixture
def client(bus_url):
    with raw.RawClient(bus_url) as made:
        yield made


def test_100_mib_cost_nothing_and_the_caller_is_told(agent, client):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    assert client.call(topic, echo('warm'))['result'] == 'warm'
    before = memory(guest, 'VmRSS')

    client.send(topic, {**asking(client, 'x' * (100 * MIB)), '_context_user': 'me'})

    failure = json.loads(client.receive(120)['failure'])
    assert (failure['class'], failure['module']) == (
        'RequestTooLarge',
        'guestagent.errors',
    )
    assert LIMIT in failure['message']
    assert memory(guest, 'VmHWM') < before + 4 * MIB
    assert client.call(topic, echo('after'))['result'] == 'after'
    assert client.depth(topic) == 0


@pytest.mark.parametrize(
    'body',
    [b'\x00' * (20 * MIB), b'{"oslo.version": "2.0", ' + b' ' * (20 * MIB)],
    ids=['garbage', 'truncated'],
)
def test_what_does_not_say_who_asks_is_logged(agent, client, body):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'

    client.send(topic, body)

    guest.wait_line(f'no request: the request takes {len(body)} bytes; .*{LIMIT}')
    assert client.call(topic, echo('after'))['result'] == 'after'
    assert client.depth(topic) == 0


def test_the_limit_is_where_it_is_said_to_be(agent, client):
    guest = agent(extensions='probe', options={'bus': {'max_message_size': 65536}})
    topic = f'guestagent.{guest.instance}'
    empty = {**asking(client, ''), '_unique_id': 'u'}
    envelope = {'oslo.version': '2.0', 'oslo.message': json.dumps(empty)}
    room = 65536 - len(json.dumps(envelope))

    client.send(topic, {**asking(client, 'x' * room), '_unique_id': 'u'})
    whole = client.receive(60)
    client.send(topic, {**asking(client, 'x' * (room + 1)), '_unique_id': 'v'})
    above = client.receive(60)

    assert len(whole['result']) == room
    assert json.loads(above['failure'])['message'].startswith(
        'the request takes 65537 '
    )


def test_a_stock_client_is_told(agent, stock_client):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, timeout=120, namespace='probe')

    with pytest.raises(errors.RequestTooLarge, match=LIMIT):
        probe.call({'user': 'me'}, 'echo', value='x' * (17 * MIB))


def test_an_answer_to_what_was_cut_goes_to_reply_queues_only(agent, client):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    client.channel.queue_declare('guestagent.other', auto_delete=False)

    client.send(
        topic,
        {**echo('x' * (17 * MIB)), '_msg_id': 'm', '_reply_q': 'guestagent.other'},
    )

    assert client.call(topic, echo('after'))['result'] == 'after'
    assert client.depth('guestagent.other') == 0


def test_memory_is_given_back_after_requests_that_fit(agent, client):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    assert client.call(topic, echo('warm'))['result'] == 'warm'
    before = memory(guest, 'VmRSS')

    for _ in range(3):
        reply = client.call(topic, echo('x' * (15 * MIB)), seconds=120)
        assert len(reply['result']) == 15 * MIB
    for _ in range(50):
        client.call(topic, echo('x'))

    # malloc keeps some of it for the next; by chance of threads up to 10 MiB.
    assert memory(guest, 'VmRSS') < before + 15 * MIB


def test_the_reference_bus_survives_100_mib(agent, client):
    guest = agent(extensions='probe', options={'bus': {'driver': 'reference'}})
    topic = f'guestagent.{guest.instance}'

    reply = client.call(
        topic, {**echo('x' * (100 * MIB)), 'method': 'nope'}, seconds=120
    )

    assert json.loads(reply['failure'])['class'] == 'NoSuchMethod'
    assert client.call(topic, echo('after'))['result'] == 'after'
