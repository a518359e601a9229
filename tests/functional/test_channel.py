# SPDX-License-Identifier: Apache-2.0
"""Agents and stock programs on ``channel://``, and a hub that comes and goes."""

import contextlib
import json
import pathlib
import signal
import threading
import uuid

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, stack
from guestagent import errors
from tests.functional import hubs

pytestmark = pytest.mark.functional

PROBE = pathlib.Path(__file__).parent / 'probe'
REPORTS = {'exchange': 'guestagent_reports', 'topic': 'guestagent_reports.info'}
GUEST = {'exchange': 'guestagent', 'topic': 'guestagent.vm-1'}


@pytest.fixture
def hub(tmp_path, children):
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def marks(tmp_path):
    path = tmp_path / 'marks'

    def read():
        return path.read_text().split() if path.exists() else []

    return read


@pytest.fixture
def start_agent(hub, tmp_path, children):
    def start(**options):
        child = stack.Agent(
            tmp_path,
            hub.url,
            'vm-1',
            {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'probe': {'marks': tmp_path / 'marks'},
                **options,
            },
            PROBE,
        )
        children.append(child)
        child.wait_line('connected to the hub at ')
        return child

    return start


@pytest.fixture
def transport(hub):
    cfg.CONF([])
    made = oslo_messaging.get_rpc_transport(
        cfg.CONF, hub.url, allowed_remote_exmods=['guestagent.errors']
    )
    yield made
    made.cleanup()


@pytest.fixture
def probe(transport):
    target = oslo_messaging.Target(
        exchange='guestagent', topic='guestagent.vm-1', namespace='probe'
    )
    return oslo_messaging.get_rpc_client(transport, target, timeout=30)


@pytest.fixture
def program(hub):
    with hubs.Peer(hub.folder / 'programs.sock') as peer:
        yield peer


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
    watched = probe.prepare(call_monitor_timeout=2)
    assert watched.call({}, 'sleep', seconds=3) == 'slept'
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


class Caller(threading.Thread):
    """Calls until it is told to stop; counts what comes."""

    def __init__(self, probe):
        super().__init__()
        self._probe = probe
        self.stopping = threading.Event()
        self.answered = 0
        self.failed = 0

    def run(self):
        while not self.stopping.is_set():
            try:
                assert self._probe.call({}, 'echo', value=self.answered) == (
                    self.answered
                )
            except oslo_messaging.MessageDeliveryFailure:
                self.failed += 1
            else:
                self.answered += 1


def test_a_hub_is_killed_under_load_and_started_again(
    hub, start_agent, probe, tmp_path, children, marks
):
    agent = start_agent()
    callers = [Caller(probe) for _ in range(8)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(2):
            answered = [caller.answered for caller in callers]
            processes.wait_for(
                lambda answered=answered: all(
                    caller.answered > before + 20
                    for caller, before in zip(callers, answered, strict=True)
                ),
                'all callers get answers',
            )
            hub.kill()
            hub = hubs.Hub(tmp_path)
            children.append(hub)
            agent.wait_line('next attempt in')
    finally:
        for caller in callers:
            caller.stopping.set()
        for caller in callers:
            caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert sum(caller.failed for caller in callers)
    assert probe.call({}, 'mark', text='after') == 1
    assert marks() == ['after']


def start_call(probe, seconds):
    """Make a call in a thread; return that, and a list for its error, when it runs."""
    got = []

    def call():
        try:
            probe.prepare(timeout=60).call({}, 'sleep', seconds=seconds)
        except oslo_messaging.MessageDeliveryFailure as error:
            got.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    core = oslo_messaging.get_rpc_client(
        probe.transport,
        oslo_messaging.Target(
            exchange='guestagent', topic='guestagent.vm-1', namespace='agent'
        ),
    )
    processes.wait_for(lambda: core.call({}, 'list'), 'the call runs')
    return thread, got


def test_calls_in_flight_get_an_error_at_once(hub, start_agent, probe):
    agent = start_agent()
    thread, got = start_call(probe, 50)
    hub.kill()
    thread.join(30)
    assert len(got) == 1
    # It would let the call end first.
    agent.kill()


def test_a_reply_to_an_earlier_hub_does_not_count_against_its_caller(
    hub, start_agent, probe, tmp_path, children
):
    agent = start_agent()
    thread, _ = start_call(probe, 2)
    hub.kill()
    thread.join(30)
    children.append(hubs.Hub(tmp_path))
    agent.wait_line('nobody there has asked this guest')

    assert probe.call({}, 'echo', value=1) == 1


def test_casts_outlive_a_hub(hub, probe, tmp_path, children, start_agent, marks):
    for number in range(20):
        probe.cast({}, 'mark', text=f'm{number}')
    hub.kill()
    children.append(hubs.Hub(tmp_path))

    start_agent()

    processes.wait_for(lambda: len(marks()) == 20, 'all marks')
    assert sorted(marks()) == sorted(f'm{number}' for number in range(20))


def test_who_does_not_want_to_wait_for_a_hub(tmp_path):
    cfg.CONF([])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, f'channel://{tmp_path}')
    target = oslo_messaging.Target(exchange='guestagent', topic='guestagent.vm-1')
    client = oslo_messaging.get_rpc_client(transport, target, timeout=30, retry=1)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='No such file'):
        client.call({}, 'echo')
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='No such file'):
        client.cast({}, 'echo')
    hasty = client.prepare(timeout=0.5, retry=-1)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        hasty.call({}, 'echo')
    transport.cleanup()


@pytest.mark.parametrize(
    'url', ['channel://', 'channel:///', 'channel://host/x', 'channel:///x?a=1']
)
def test_a_url_of_no_use(url, tmp_path):
    with pytest.raises(oslo_messaging.InvalidTransportURL, match='absolute path'):
        oslo_messaging.get_rpc_transport(cfg.CONF, url)
    agent = stack.Agent(tmp_path, url, 'vm-1')
    assert agent.wait_end() == 2
    assert 'transport_url: write channel:// and the absolute path' in agent.output()


class Endpoint:
    """Serves what the tests of a stock server ask for."""

    def __init__(self):
        self.seen = []

    def add(self, ctxt, number):
        self.seen.append(number)
        return number + 1

    def info(self, ctxt, publisher, event_type, payload, metadata):
        self.seen.append(payload)
        if payload == 'again' and self.seen.count('again') < 3:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED


@contextlib.contextmanager
def running(server):
    server.start()
    yield
    server.stop()
    server.wait()


def test_a_stock_server_outlives_a_hub(hub, transport, tmp_path, children):
    endpoint = Endpoint()
    target = oslo_messaging.Target(topic='service', server='one')
    server = oslo_messaging.get_rpc_server(transport, target, [endpoint])
    client = oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic='service'), timeout=30
    )
    with running(server):
        assert client.call({}, 'add', number=1) == 2
        hub.kill()
        children.append(hubs.Hub(tmp_path))
        # The server's subscriptions come with the connection that the call waits for.
        assert client.call({}, 'add', number=2) == 3


def test_a_notification_that_is_put_back_comes_again(hub, transport):
    endpoint = Endpoint()
    notifier = oslo_messaging.Notifier(
        transport, 'me', driver='messaging', topics=['notes']
    )
    # It waits for a listener.
    notifier.info({}, 'event', 'first')
    listener = oslo_messaging.get_notification_listener(
        transport,
        [oslo_messaging.Target(topic='notes')],
        [endpoint],
        allow_requeue=True,
    )
    with running(listener):
        notifier.info({}, 'event', 'again')
        processes.wait_for(lambda: endpoint.seen.count('again') == 3, 'three times')
    assert endpoint.seen[0] == 'first'


def test_a_hub_that_hangs(hub, start_agent, probe):
    start_agent()
    assert probe.call({}, 'echo', value=1) == 1
    hub._child.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(oslo_messaging.MessagingTimeout):
            probe.prepare(timeout=1).call({}, 'echo', value=2)
    finally:
        hub._child.send_signal(signal.SIGCONT)
    assert probe.call({}, 'echo', value=3) == 3
