# SPDX-License-Identifier: Apache-2.0
"""The light bus beside the one on oslo.messaging: the same requests, the same answers.

One agent for each bus serves the whole module.  What differs by design is in
doc/wire.rst, section 10, and is excepted here by name.
"""

import dataclasses
import json
import pathlib
import time
import uuid

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, stack
from tests.functional import raw

pytestmark = pytest.mark.functional

BUSES = ('amqp', 'reference')
PROBE = pathlib.Path(__file__).parent / 'probe'

#: In place of a value: the key is not there.
ABSENT = object()

REQUEST = {'method': 'echo', 'namespace': 'probe', 'version': '1.0', 'args': {}}
DISPATCHER = 'oslo_messaging.rpc.dispatcher'


@dataclasses.dataclass
class Guest:
    """An agent on one of the buses."""

    bus: str
    agent: stack.Agent
    marks: pathlib.Path

    @property
    def topic(self):
        return f'guestagent.{self.agent.instance}'

    def marked(self):
        return self.marks.read_text().split() if self.marks.exists() else []


@pytest.fixture(scope='module')
def url(rabbit):
    return rabbit.add_vhost('both-buses')


@pytest.fixture(scope='module')
def client(url):
    with raw.RawClient(url) as made:
        yield made


@pytest.fixture(scope='module')
def guests(url, client, tmp_path_factory):
    """Return ``{bus: Guest}``; their reports have had to wait for a queue."""
    folder = tmp_path_factory.mktemp('both-buses')
    made = {}
    try:
        for bus in BUSES:
            marks = folder / f'marks-{bus}'
            options = {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'bus': {'driver': bus},
                'dispatcher': {'workers': 2, 'backlog': 2, 'max_result_size': 2**20},
                'probe': {'marks': marks},
            }
            made[bus] = Guest(
                bus, stack.Agent(folder, url, f'on-{bus}', options, PROBE), marks
            )
        for guest in made.values():
            guest.agent.wait_ready()
            guest.agent.wait_line('a report was returned by the broker')
        declare_report_queue(client.channel)
        yield made
    finally:
        codes = {bus: guest.agent.stop() for bus, guest in made.items()}
    assert codes == dict.fromkeys(BUSES, 0)


def declare_report_queue(channel):
    """Declare it as the conductor does, which the library by itself would not."""
    channel.queue_declare(
        'guestagent_reports.info',
        durable=True,
        auto_delete=False,
        arguments={'x-overflow': 'reject-publish', 'x-max-length': 1_000_000},
    )
    channel.queue_bind(
        'guestagent_reports.info', 'guestagent_reports', 'guestagent_reports.info'
    )


@pytest.fixture(params=BUSES)
def guest(request, guests):
    return guests[request.param]


@pytest.fixture
def stock(url):
    """``stock(guest, timeout=..., **target)``: a client as a control plane has it."""
    cfg.CONF([])
    transport = oslo_messaging.get_rpc_transport(
        cfg.CONF, url, allowed_remote_exmods=['guestagent.errors']
    )

    def make(guest, timeout=10, **target):
        target = {'topic': guest.topic, 'namespace': 'probe', **target}
        return oslo_messaging.get_rpc_client(
            transport,
            oslo_messaging.Target(exchange='guestagent', **target),
            timeout=timeout,
        )

    yield make
    transport.cleanup()


def request(**change):
    """Return a request to ``probe.echo`` with some keys changed."""
    return {
        key: value
        for key, value in {**REQUEST, **change}.items()
        if value is not ABSENT
    }


def echo(value):
    return request(args={'value': value})


def fail(kind):
    return request(method='fail', args={'kind': kind})


def visible(reply):
    """Return what a client sees of a reply, as text, and the traceback apart."""
    failure = reply['failure'] and json.loads(reply['failure'])
    trace = failure.pop('tb') if failure else None
    return json.dumps([reply['result'], failure, reply['ending']]), trace


def deep(levels):
    value = 'bottom'
    for _ in range(levels):
        value = [value]
    return value


#: What must come back as it is.
VALUES = {
    'null': None,
    'numbers': [0, -1, 1.5, -0.0, 1e308, 5e-324, 2**63, -(2**64)],
    'a huge integer': 10**4000,
    'not a number': [float('nan'), float('inf'), float('-inf')],
    'booleans beside numbers': [True, 1, 1.0, False, 0],
    'unicode': 'żółw \U0001f422 \u0000 \u2028',
    'a lone surrogate': 'x\ud800y\udfff',
    'bytes as latin-1': bytes(range(256)).decode('latin-1'),
    'keys': {'': 1, '_msg_id': 2, 'oslo.message': 3, '__type__': 'bytes', '.a/$': 4},
    'a typed value of kombu': {'__type__': 'uuid', '__value__': {'hex': 'zz'}},
    'deep': deep(200),
    'wide': list(range(20000)),
    'large': 'x' * 900_000,
    'an envelope': {'oslo.version': '2.0', 'oslo.message': '{}'},
}

#: Requests, and the class of the error that answers each (doc/wire.rst, section 5).
REFUSED = {
    'other major': (request(version='2.0'), 'UnsupportedVersion'),
    'later minor': (request(version='1.3'), 'UnsupportedVersion'),
    'later revision': (request(version='1.2.1'), 'UnsupportedVersion'),
    'version 0.9': (request(version='0.9'), 'UnsupportedVersion'),
    'version null': (request(version=None), 'UnsupportedVersion'),
    'version without minor': (request(version='1'), 'IndexError'),
    'version a number': (request(version=1.0), 'AttributeError'),
    'version no number': (request(version='x.y'), 'ValueError'),
    'version a list': (request(version=['1', '0']), 'AttributeError'),
    'unknown namespace': (request(namespace='nope'), 'UnsupportedVersion'),
    'sealed, which is reserved': (request(namespace='sealed'), 'UnsupportedVersion'),
    'namespace null': (request(namespace=None), 'NoSuchMethod'),
    'namespace absent': (request(namespace=ABSENT), 'NoSuchMethod'),
    'namespace a list': (request(namespace=['probe']), 'UnsupportedVersion'),
    'namespace an object': (request(namespace={}), 'UnsupportedVersion'),
    'unknown method': (request(method='nope'), 'NoSuchMethod'),
    'method of another case': (request(method='Echo'), 'NoSuchMethod'),
    'private method': (request(method='_private'), 'NoSuchMethod'),
    'ping in a namespace': (request(method='oslo_rpc_server_ping'), 'NoSuchMethod'),
    'method absent': (request(method=ABSENT), 'TypeError'),
    'method null': (request(method=None), 'TypeError'),
    'method a number': (request(method=5), 'TypeError'),
    'args null': (request(args=None), 'AttributeError'),
    'args a list': (request(args=[]), 'AttributeError'),
    'args a text': (request(args='value'), 'AttributeError'),
    'unknown argument': (request(args={'zz': 1}), 'TypeError'),
    'argument named self': (request(args={'self': 1}), 'TypeError'),
    'argument named context': (request(args={'context': 1}), 'TypeError'),
    'missing argument': (request(method='sleep'), 'TypeError'),
    'wrong type': (request(method='sleep', args={'seconds': 'x'}), 'TypeError'),
    'true is no number': (request(method='sleep', args={'seconds': True}), 'TypeError'),
    'a later error of the caller': (fail('ours'), 'InvalidArgument'),
    'past its limit': (request(method='hang', args={'seconds': 2}), 'CommandTimeout'),
    'no JSON': (request(method='unsendable'), 'BadResult'),
    'too large': (request(method='large', args={'size': 2**20}), 'ResultTooLarge'),
    'not loaded': (
        request(method='ask', args={'other': 'exec', 'command': 'run'}),
        'ExtensionUnavailable',
    ),
}

ANSWERED = {
    **{name: (echo(value), value) for name, value in VALUES.items()},
    'ping': (request(namespace=None, method='oslo_rpc_server_ping'), 'pong'),
    'ping, namespace absent': (
        request(namespace=ABSENT, method='oslo_rpc_server_ping'),
        'pong',
    ),
    'version absent': (request(version=ABSENT), None),
    'args absent': (request(args=ABSENT), None),
    'the latest version': (request(version='1.2'), None),
    'an earlier revision': (request(version='1.1.9'), None),
    'an unknown key': (request(something={'else': 1}), None),
    'a monitor that is no number': (request(_timeout='x'), None),
    'a unique id that is no text': (request(_unique_id=['x']), None),
}


@pytest.mark.parametrize('name', ANSWERED)
def test_the_same_result(guests, client, name):
    message, result = ANSWERED[name]
    wanted = json.dumps([result, None, True])

    answers = {bus: visible(client.call(guests[bus].topic, message)) for bus in BUSES}

    assert answers == dict.fromkeys(BUSES, (wanted, None))


@pytest.mark.parametrize('name', REFUSED)
def test_the_same_refusal(guests, client, name):
    message, error = REFUSED[name]
    answers = [visible(client.call(guests[bus].topic, message)) for bus in BUSES]

    ours, theirs = answers[0][0], answers[1][0]
    assert ours == theirs
    failure = json.loads(ours)[1]
    assert failure['class'] == error
    # By design: the library writes the error's own line where we write nothing.
    where = '' if failure['module'] == 'builtins' else failure['module'] + '.'
    line = f'{where}{error}: {failure["message"]}\n'
    assert [trace for _, trace in answers] == [[], [line]]


@pytest.mark.parametrize(
    ('kind', 'error'), [('builtin', 'LookupError'), ('odd', 'Odd')]
)
def test_the_same_failure_of_an_extension_with_its_traceback(
    guests, client, kind, error
):
    ours, theirs = [visible(client.call(guests[b].topic, fail(kind))) for b in BUSES]

    assert ours == theirs
    assert json.loads(ours[0])[1]['class'] == error
    assert 'in fail' in ''.join(ours[1])


CONTEXTS = {
    'none': {},
    'usual': {'user': 'ü', 'roles': ['a'], 'is_admin': True, 'deadline': None},
    'exotic keys': {'': 1, 'a.b': 2, '_context_x': 3, 'ż': 4, 'k' * 3000: 5},
    'nested': {'tree': deep(50), 'object': {'a': {'b': [1, {'c': None}]}}},
    'a caller': {'guestagent_caller': 'nova', 'guestagent_command_id': 'id-1'},
    'a caller that is no text': {'guestagent_caller': {'a': 1}},
    'an id that may be none': {'guestagent_command_id': '../../etc'},
    'words of the library': {'conf': 1, 'values': 2, 'kwargs': 3, 'timeout': 4},
}


@pytest.mark.parametrize('name', CONTEXTS)
def test_the_same_context(guests, client, name):
    message = request(method='seen', _unique_id=uuid.uuid4().hex)
    message |= {f'_context_{key}': value for key, value in CONTEXTS[name].items()}

    ours, theirs = [visible(client.call(guests[bus].topic, message)) for bus in BUSES]

    assert ours == theirs
    assert json.loads(ours[0])[0]['values'] == CONTEXTS[name]


@pytest.mark.parametrize('key', ['msg_id', 'reply_q', 'client_timeout'])
def test_context_keys_that_the_library_takes(guests, client, key):
    message = request(method='seen', **{f'_context_{key}': 'mine'})

    seen = {bus: client.call(guests[bus].topic, message)['result'] for bus in BUSES}

    assert seen['amqp']['values'] == {key: 'mine'}
    assert seen['reference']['values'] == {}


def test_a_context_key_that_the_library_does_not_survive(guests, client):
    message = request(_context_self='mine')

    assert client.call(guests['amqp'].topic, message)['ending']
    client.send(guests['reference'].topic, message)
    first_answer_is_of_a_good_request(client, guests['reference'])


def test_a_context_that_is_too_deep_for_the_library(guests, client):
    message = request(_context_tree=deep(700))

    assert client.call(guests['amqp'].topic, message)['ending']
    client.send(guests['reference'].topic, message)
    first_answer_is_of_a_good_request(client, guests['reference'])


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
    raised = {bus: [] for bus in BUSES}
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

    assert raised['amqp'] == raised['reference']
    assert [name for name, _ in raised['amqp']] == [
        'InvalidArgument_Remote',
        'LookupError',
        'RemoteError',
        'RemoteError',
        'TypeError',
    ]


def test_a_caller_that_gives_up_and_one_that_watches(guest, stock):
    probe = stock(guest, timeout=20)

    with pytest.raises(oslo_messaging.MessagingTimeout):
        probe.prepare(timeout=0.3).call({}, 'sleep', seconds=1)
    watched = probe.prepare(call_monitor_timeout=2)
    assert watched.call({}, 'sleep', seconds=3) == 'slept'


def test_signs_of_life_end_with_the_answer(guests, client):
    waiting = {}
    for guest in guests.values():
        for method in ('nope', 'sleep'):
            msg_id = uuid.uuid4().hex
            waiting[msg_id] = (guest.bus, method)
            client.send(
                guest.topic,
                request(
                    method=method,
                    args={'seconds': 2.5},
                    _timeout='2',
                    _msg_id=msg_id,
                    _reply_q=client.reply_queue,
                ),
            )

    got = {key: [] for key in waiting.values()}
    while reply := client.receive(3):
        got[waiting[reply['_msg_id']]].append(
            (reply['result'], bool(reply['failure']), reply['ending'])
        )

    life = (None, False, False)
    for bus in BUSES:
        assert got[bus, 'nope'] == [(None, True, True)]
        assert got[bus, 'sleep'] == [life, life, ('slept', False, True)]


def test_busy_and_ping_with_the_pool_full(guest, client):
    ids = [uuid.uuid4().hex for _ in range(6)]
    for msg_id in ids:
        client.send(
            guest.topic,
            request(
                method='sleep',
                args={'seconds': 1},
                _msg_id=msg_id,
                _reply_q=client.reply_queue,
            ),
        )
    refused = [client.receive(5) for _ in range(2)]
    ping = request(namespace=None, method='oslo_rpc_server_ping')

    began = time.monotonic()
    assert client.call(guest.topic, ping, seconds=5)['result'] == 'pong'
    assert time.monotonic() - began < 0.9
    assert all('Busy' in reply['failure'] for reply in refused)
    slept = [client.receive(10) for _ in range(4)]
    assert [reply['result'] for reply in slept] == ['slept'] * 4


def test_a_command_runs_once_for_its_id(guests, client):
    answers = {bus: [] for bus in BUSES}
    for bus, guest in guests.items():
        for text in ('twice', 'twice', 'other'):
            message = request(
                method='mark', args={'text': text}, _context_guestagent_command_id='c1'
            )
            answers[bus].append(visible(client.call(guest.topic, message)))
        assert guest.marked().count('twice') == 1

    for bus in BUSES:
        first, repeat, reused = (json.loads(text) for text, _ in answers[bus])
        assert first == repeat
        assert first[1] is None
        assert reused[1]['class'] == 'IdReused'


def test_a_sending_that_comes_twice_is_answered_once(guest, client):
    message = request(_unique_id=uuid.uuid4().hex)

    assert client.call(guest.topic, message)['ending']
    client.send(
        guest.topic, {**message, '_msg_id': 'again', '_reply_q': client.reply_queue}
    )
    first_answer_is_of_a_good_request(client, guest)


def test_clients_that_have_gone_block_nobody(guest, client):
    for number in range(20):
        client.send(
            guest.topic, request(_msg_id=f'm{number}', _reply_q=f'reply_gone{number}')
        )
        client.call(guest.topic, echo(number), seconds=5)

    assert client.call(guest.topic, echo('x'), seconds=5)['result'] == 'x'


@pytest.mark.parametrize('queue', ['both.other', 'reply_', '', None, 5, ['reply_x']])
def test_a_reply_goes_to_reply_queues_only(guest, client, queue):
    client.channel.queue_declare('both.other', auto_delete=False)
    client.channel.queue_declare('reply_', auto_delete=False)

    client.send(guest.topic, request(_msg_id='m', _reply_q=queue))

    first_answer_is_of_a_good_request(client, guest)
    assert client.depth('both.other') == 0
    assert client.depth('reply_') == 0


def enveloped(inner, version='2.0'):
    return json.dumps({'oslo.version': version, 'oslo.message': inner}).encode()


def asking(client, body):
    """Return the text of a message with ``body`` that wants an answer."""
    return (
        f'{{{body}, "namespace": "probe", "_msg_id": "bad", '
        f'"_reply_q": "{client.reply_queue}"}}'
    )


GOOD = '"method": "echo", "args": {"value": 1}'

UNREADABLE = {
    'garbage': lambda client: b'garbage',
    'nothing': lambda client: b'',
    'zeros': lambda client: b'\x00\xff' * 1000,
    'a list': lambda client: b'[1]',
    'a text': lambda client: b'"x"',
    'truncated': lambda client: enveloped(asking(client, GOOD))[:-20],
    'a truncated message in a whole envelope': lambda client: enveloped(
        asking(client, GOOD)[:-5]
    ),
    'an older envelope': lambda client: enveloped(asking(client, GOOD), '1.0'),
    'a later envelope': lambda client: enveloped(asking(client, GOOD), '2.1'),
    'bad UTF-8': lambda client: enveloped(asking(client, GOOD)).replace(
        b'echo', b'\xff\xfe\xfd\xfc'
    ),
    'too deep': lambda client: enveloped(
        asking(client, f'"args": {{"value": {"[" * 100_000}{"]" * 100_000}}}')
    ),
    'an integer that takes seconds to read': lambda client: enveloped(
        asking(client, f'"args": {{"value": {"9" * 100_000}}}')
    ),
    'a message in a list': lambda client: enveloped(f'[{asking(client, GOOD)}]'),
    'a message that is no text': lambda client: (
        b'{"oslo.version": "2.0", "oslo.message": {"method": "echo"}}'
    ),
}


@pytest.mark.parametrize('name', UNREADABLE)
def test_what_is_no_message_gets_no_answer_and_does_no_harm(guest, client, name):
    client.send(guest.topic, UNREADABLE[name](client))

    first_answer_is_of_a_good_request(client, guest)
    assert client.depth(guest.topic) == 0


ODD_BODIES = {
    'duplicate keys': ('"method": "nope", "method": "echo", "args": {"value": 1}', 1),
    'duplicate arguments': ('"method": "echo", "args": {"value": 2, "value": 3}', 3),
    'not a number': ('"method": "echo", "args": {"value": NaN}', None),
    'a surrogate, escaped': (
        '"method": "echo", "args": {"value": "\\ud800"}',
        '\ud800',
    ),
}


@pytest.mark.parametrize('name', ODD_BODIES)
@pytest.mark.parametrize('wrap', [enveloped, str.encode], ids=['enveloped', 'bare'])
def test_odd_json_that_can_be_read(guests, client, name, wrap):
    body, value = ODD_BODIES[name]
    answers = []
    for bus in BUSES:
        client.send(guests[bus].topic, wrap(asking(client, body)))
        answers.append(visible(client.receive(10)))

    assert answers[0] == answers[1]
    result = json.loads(answers[0][0])[0]
    assert result != result if value is None else result == value


def test_the_same_reports(guests, client):
    for guest in guests.values():
        message = request(
            method='mark', args={'text': 'cast'}, _context_guestagent_command_id='r1'
        )
        client.send(guest.topic, message)
    seen = {}

    def look():
        while message := client.channel.basic_get(
            'guestagent_reports.info', no_ack=True
        ):
            report = json.loads(json.loads(message.body)['oslo.message'])
            payload = report['payload']
            if payload['kind'] == 'outcome':
                seen[payload['instance']] = report, dict(message.properties)
        return len(seen) == 2

    processes.wait_for(look, 'an outcome from each')
    (ours, our_properties), (theirs, their_properties) = (
        seen[f'on-{bus}'] for bus in BUSES
    )
    assert ours.keys() == theirs.keys()
    assert ours['payload'].keys() == theirs['payload'].keys()
    data = [report['payload']['data'] for report in (ours, theirs)]
    for item in data:
        assert item.pop('seconds') >= 0
        assert item.pop('started') > 0
        assert item.pop('result') > 0
    assert data[0] == data[1]
    for properties in (our_properties, their_properties):
        assert properties['delivery_mode'] == 2


def first_answer_is_of_a_good_request(client, guest):
    """Check that the guest lives, and that nothing sent before has an answer."""
    msg_id = uuid.uuid4().hex
    client.send(
        guest.topic, {**echo('good'), '_msg_id': msg_id, '_reply_q': client.reply_queue}
    )
    reply = client.receive(10)
    assert (reply['_msg_id'], reply['result']) == (msg_id, 'good')
