# SPDX-License-Identifier: Apache-2.0
"""What clients of all kinds see, on each bus: stock ones, hasty ones, wrong ones."""

import concurrent.futures
import json
import uuid

import oslo_messaging
import pytest

from devstack import processes
from tests.functional.buses.messages import request, visible

pytestmark = pytest.mark.functional


def test_calls_casts_and_fanouts_of_a_stock_client(guest, stock):
    topic = stock(guest)
    server = stock(guest, server=guest.agent.instance)

    topic.cast({}, 'mark', text='cast')
    topic.prepare(fanout=True).cast({}, 'mark', text='fanout')
    server.cast({}, 'mark', text='server-cast')
    processes.wait_for(lambda: len(guest.marked()) == 3, 'three marks')

    assert topic.call({}, 'mark', text='call') == 4
    assert server.call({}, 'mark', text='server-call') == 5
    assert sorted(guest.marked()) == [
        'call',
        'cast',
        'fanout',
        'server-call',
        'server-cast',
    ]


def test_errors_as_a_stock_client_raises_them(guests, stock):
    raised = {bus: [] for bus in guests}
    for bus, guest in guests.items():
        probe = stock(guest)
        for method, arguments in [
            ('fail', {'kind': 'ours'}),
            ('fail', {'kind': 'builtin'}),
            ('fail', {'kind': 'odd'}),
            ('nope', {}),
            ('sleep', {'seconds': None}),
        ]:
            with pytest.raises(Exception) as caught:  # noqa: PT011 (they are compared)
                probe.call({}, method, **arguments)
            text = str(caught.value).split('\n')[0]
            raised[bus].append((type(caught.value).__name__, text))

    assert raised == dict.fromkeys(guests, raised['amqp'])
    assert [name for name, _ in raised['amqp']] == [
        'InvalidArgument_Remote',
        'LookupError',
        'RemoteError',
        'RemoteError',
        'TypeError',
    ]


def test_a_caller_that_gives_up_and_one_that_watches(guests, stock):
    probes = [stock(guest) for guest in guests.values()]

    for probe in probes:
        with pytest.raises(oslo_messaging.MessagingTimeout):
            probe.prepare(timeout=0.3).call({}, 'sleep', seconds=1)

    def watch(probe):
        watched = probe.prepare(call_monitor_timeout=4)
        return watched.call({}, 'sleep', seconds=5)

    with concurrent.futures.ThreadPoolExecutor(len(probes)) as pool:
        assert list(pool.map(watch, probes)) == ['slept'] * len(probes)


def test_signs_of_life_end_with_the_answer(guests, tmp_path):
    there = tmp_path / 'there'
    waiting = {}
    for guest in guests.values():
        for method in ('nope', 'climb'):
            message = request(method=method, args={'to': str(there)}, _timeout='2')
            waiting[guest.send_call(message)] = (guest.bus, method)

    got = {key: [] for key in waiting.values()}
    clients = (guests['amqp'].client, guests['channel'].client)
    life = (None, False, False)

    def take(client, seconds):
        while reply := client.receive(seconds):
            got[waiting[reply['_msg_id']]].append(
                (reply['result'], bool(reply['failure']), reply['ending'])
            )

    def all_live():
        for client in clients:
            take(client, 0.1)
        return all(got[bus, 'climb'].count(life) >= 2 for bus in guests)

    processes.wait_for(all_live, 'two signs of life from each')
    there.touch()

    def all_answered():
        for client in clients:
            take(client, 0.1)
        return all(got[bus, 'climb'][-1][2] for bus in guests)

    processes.wait_for(all_answered, 'an answer from each')
    # The next sign of life would have come after one second.
    for client in clients:
        take(client, 1.5)

    for bus in guests:
        assert got[bus, 'nope'] == [(None, True, True)]
        *lives, answer = got[bus, 'climb']
        assert answer == ('there', False, True)
        assert lives == [life] * len(lives)


def test_busy_and_ping_with_the_pool_full(guest, tmp_path):
    there = tmp_path / 'there'
    for _ in range(6):
        guest.send_call(request(method='climb', args={'to': str(there)}))
    refused = [guest.client.receive(60) for _ in range(2)]
    ping = request(namespace=None, method='oslo_rpc_server_ping')

    msg_id = guest.send_call(ping)
    # Before any of those has ended.
    reply = guest.client.receive(60)
    assert (reply['_msg_id'], reply['result']) == (msg_id, 'pong')
    assert all('Busy' in reply['failure'] for reply in refused)
    there.touch()
    climbed = [guest.client.receive(60) for _ in range(4)]
    assert [reply['result'] for reply in climbed] == ['there'] * 4


def test_a_command_runs_once_for_its_id(guests):
    for guest in guests.values():
        first, repeat, reused = (
            json.loads(visible(guest.call(message))[0])
            for message in (
                request(
                    method='mark',
                    args={'text': text},
                    _context_guestagent_command_id='c1',
                )
                for text in ('twice', 'twice', 'other')
            )
        )
        assert guest.marked().count('twice') == 1
        assert first == repeat
        assert first[1] is None
        assert reused[1]['class'] == 'IdReused'


def test_a_sending_that_comes_twice_is_answered_once(guest):
    message = request(_unique_id=uuid.uuid4().hex)

    assert guest.call(message)['ending']
    guest.send_call(message)
    guest.assert_next_answer_is_of_a_good_request()


def test_clients_that_have_gone_block_nobody(guest):
    for number in range(20):
        guest.send(request(_msg_id=f'm{number}', _reply_q=f'reply_gone{number}'))
        guest.call(request(args={'value': number}), seconds=30)

    assert guest.call(request(args={'value': 'x'}), seconds=30)['result'] == 'x'


@pytest.mark.parametrize('queue', ['both.other', 'reply_', '', None, 5, ['reply_x']])
def test_a_reply_goes_to_reply_queues_only(guest, queue):
    guest.client.declare('both.other')
    guest.client.declare('reply_')

    guest.send(request(_msg_id='m', _reply_q=queue))

    guest.assert_next_answer_is_of_a_good_request()
    assert guest.client.depth('both.other') == 0
    assert guest.client.depth('reply_') == 0
