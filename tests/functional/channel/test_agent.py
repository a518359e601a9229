# SPDX-License-Identifier: Apache-2.0
"""Agents and stock programs on ``channel://``, and a hub that comes and goes."""

import json
import pathlib
import uuid

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, stack
from guestagent import errors

pytestmark = pytest.mark.functional

REPORTS = {'exchange': 'guestagent_reports', 'topic': 'guestagent_reports.info'}
GUEST = {'exchange': 'guestagent', 'topic': 'guestagent.vm-1'}


def request(method='echo', **fields):
    message = {'namespace': 'probe', 'method': method, 'args': {}, **fields}
    message.setdefault('_unique_id', uuid.uuid4().hex)
    return json.dumps(
        {'oslo.version': '2.0', 'oslo.message': json.dumps(message)}
    ).encode()


def inner(frame):
    return json.loads(json.loads(frame.body)['oslo.message'])


def take_reports(peer, kind, condition=lambda data: True):
    """Acknowledge what comes; return the payload of the first such report."""
    while True:
        frame = peer.receive()
        if frame.op != 'deliver':
            continue
        peer.send('ack', sub=frame.header['sub'], tags=[frame.header['tag']])
        payload = inner(frame)['payload']
        if payload['kind'] == kind and condition(payload['data']):
            return payload


def test_calls_casts_and_fanouts_of_a_stock_client(start_agent, probe, marks):
    start_agent()
    assert probe.call({}, 'echo', value={'a': [1, 'ż']}) == {'a': [1, 'ż']}
    assert probe.prepare(server='vm-1').call({}, 'echo', value=2) == 2
    probe.cast({}, 'mark', text='cast')
    probe.prepare(fanout=True).cast({}, 'mark', text='fanout')
    processes.wait_for(lambda: sorted(marks()) == ['cast', 'fanout'], 'two marks')

    with pytest.raises(errors.InvalidArgument, match='makes no sense'):
        probe.call({}, 'fail', kind='ours')
    with pytest.raises(oslo_messaging.RemoteError, match='UnsupportedVersion'):
        probe.prepare(version='9.0').call({}, 'echo', value=1)


def test_an_agent_on_a_hub_has_no_tls_and_no_broker_in_memory(start_agent, probe):
    agent = start_agent()
    assert probe.call({}, 'echo', value=1) == 1
    mapped = pathlib.Path(f'/proc/{agent.pid}/maps').read_text()
    assert 'libssl' not in mapped
    assert 'libcrypto' not in mapped


def test_a_large_result_and_one_that_is_too_large(start_agent, probe):
    start_agent()
    assert probe.call({}, 'echo', value='x' * 5_000_000) == 'x' * 5_000_000
    with pytest.raises(errors.ResultTooLarge):
        probe.call({}, 'large', size=17 * 2**20)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='at most'):
        probe.call({}, 'echo', value='x' * 17 * 2**20)


def test_a_request_larger_than_the_agent_reads_is_answered(start_agent, probe):
    start_agent(bus={'max_message_size': 65536})
    with pytest.raises(errors.RequestTooLarge, match='max_message_size allows 65536'):
        probe.call({}, 'echo', value='x' * 200_000)


def test_signs_of_life(start_agent, probe):
    start_agent()
    watched = probe.prepare(call_monitor_timeout=4)
    assert watched.call({}, 'sleep', seconds=5) == 'slept'
    with pytest.raises(oslo_messaging.MessagingTimeout):
        probe.prepare(timeout=0.5).call({}, 'sleep', seconds=2)


def test_a_cast_is_confirmed_when_the_agent_has_it(start_agent, program, marks):
    body = request('mark', args={'text': 'x'})
    program.send('publish', body, id=1, held=True, done=True, **GUEST)
    assert program.receive().header['outcome'] == 'held'
    assert program.silent()

    start_agent()

    assert program.receive().header['outcome'] == 'acknowledged'
    processes.wait_for(lambda: marks() == ['x'], 'the mark')


def test_reports_are_confirmed_by_their_consumer(start_agent, program):
    agent = start_agent()
    agent.wait_line('a report was returned by the broker')
    program.send('consume', sub=1, prefetch=10, kept=True, **REPORTS)
    assert take_reports(program, 'heartbeat')['instance'] == 'vm-1'

    agent.stop()

    stopping = take_reports(program, 'heartbeat', lambda d: d['status'] == 'stopping')
    assert stopping['instance'] == 'vm-1'


def test_the_outcome_of_a_call_whose_caller_has_gone_is_reported(start_agent, program):
    start_agent()
    program.send('consume', sub=1, prefetch=10, kept=True, **REPORTS)
    body = request('mark', args={'text': 'x'}, _msg_id='m', _reply_q='reply_gone')
    program.send('publish', body, reply='reply_gone', **GUEST)

    assert take_reports(program, 'outcome')['data']['outcome'] == 'done'


def test_a_reply_to_who_has_not_asked_is_refused(start_agent, program):
    """The address in the message is not the one in the frame."""
    start_agent()
    program.send('consume', sub=1, prefetch=1, noack=True, reply='reply_other')
    program.send('publish', request(_msg_id='m', _reply_q='reply_other'), **GUEST)
    program.send('consume', sub=2, prefetch=1, noack=True, reply='reply_mine')
    body = request(_msg_id='m', _reply_q='reply_mine')
    program.send('publish', body, reply='reply_mine', **GUEST)

    came = [program.receive() for _ in range(3)]
    assert [frame.op for frame in came] == ['consuming', 'consuming', 'deliver']
    assert came[2].header['sub'] == 2


@pytest.mark.parametrize(
    'body', [b'garbage', b'[1]', b'', b'\x00' * 1000, b'{"oslo.version": "1.0"}']
)
def test_what_is_no_message_is_dropped(start_agent, program, probe, body):
    start_agent()
    program.send('publish', body, id=1, done=True, **GUEST)
    assert program.receive().header['outcome'] == 'acknowledged'
    assert probe.call({}, 'echo', value=1) == 1


def test_a_guest_that_is_known_and_one_that_is_not(probe):
    options = oslo_messaging.TransportOptions(at_least_once=True)
    nobody = probe.prepare(topic='guestagent.nobody', transport_options=options)
    with pytest.raises(oslo_messaging.MessageUndeliverable):
        nobody.call({}, 'echo')
    with pytest.raises(oslo_messaging.MessageUndeliverable):
        nobody.cast({}, 'echo')
    with pytest.raises(oslo_messaging.MessagingTimeout):
        probe.prepare(transport_options=options, timeout=0.5).call({}, 'echo')


@pytest.mark.parametrize(
    'url', ['channel://', 'channel:///', 'channel://host/x', 'channel:///x?a=1']
)
def test_a_url_of_no_use(url, tmp_path):
    with pytest.raises(oslo_messaging.InvalidTransportURL, match='absolute path'):
        oslo_messaging.get_rpc_transport(cfg.CONF, url)
    agent = stack.Agent(tmp_path, url, 'vm-1')
    assert agent.wait_end() == 2
    assert 'transport_url: write channel:// and the absolute path' in agent.output()
