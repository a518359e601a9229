# SPDX-License-Identifier: Apache-2.0
"""The agent beside oslo.messaging's own server: the same requests, the same answers."""

import json

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.functional import raw


class Probe:
    """The stock twin of the tests' extension."""

    target = oslo_messaging.Target(namespace='probe', version='1.2')

    def echo(self, ctxt, value=None):
        return value


@pytest.fixture
def stock_server(bus_url):
    """A stock server on the topic ``stock``, with ping as our agent has it."""
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_rpc_transport(conf, bus_url)
    endpoints = [Probe()]
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic='stock', server='stock', exchange='guestagent'),
        endpoints,
    )
    conf.set_override('rpc_ping_enabled', True)
    server.dispatcher.__init__(endpoints, None)
    server.start()
    yield 'stock'
    server.stop()
    server.wait()
    transport.cleanup()
    conf.clear_override('rpc_ping_enabled')


REQUEST = {
    'method': 'echo',
    'namespace': 'probe',
    'version': '1.0',
    'args': {'value': 'hello'},
}

CASES = {
    'plain': {},
    'server version': {'version': '1.2'},
    'later minor': {'version': '1.3'},
    'later revision': {'version': '1.2.1'},
    'earlier revision': {'version': '1.1.9'},
    'other major': {'version': '2.0'},
    'version 0.9': {'version': '0.9'},
    'version null': {'version': None},
    'version without minor': {'version': '1'},
    'version a number': {'version': 1.0},
    'version no number': {'version': 'x.y'},
    'unknown namespace': {'namespace': 'nope'},
    'namespace null': {'namespace': None},
    'namespace a list': {'namespace': ['probe']},
    'namespace null, version 2.0': {'namespace': None, 'version': '2.0'},
    'unknown method': {'method': 'nope'},
    'private method': {'method': '_private'},
    'method null': {'method': None},
    'method a number': {'method': 5},
    'args null': {'args': None},
    'args a list': {'args': []},
    'ping': {'namespace': None, 'method': 'oslo_rpc_server_ping', 'args': {}},
    'ping in a namespace': {'method': 'oslo_rpc_server_ping', 'args': {}},
    'unicode': {'args': {'value': 'żółw \U0001f422 \u0000'}},
    'deep': {'args': {'value': [[[{'a': [None, True, 1.5, -1, 'x']}]]]}},
    'large': {'args': {'value': 'x' * 300_000}},
    'binary as text': {'args': {'value': '\x7f\x80\xff'}},
}


def visible(reply):
    """Return what a client can see of a reply."""
    failure = reply['failure'] and json.loads(reply['failure'])
    if failure:
        del failure['tb']
    return reply['result'], failure, reply['ending']


@pytest.mark.functional
def test_the_same_answers(agent, stock_server, bus_url):
    guest = agent(extensions='probe')
    different = {}
    with raw.RawClient(bus_url) as client:
        for name, change in CASES.items():
            message = {**REQUEST, **change}
            theirs = visible(client.call(stock_server, message))
            ours = visible(client.call(f'guestagent.{guest.instance}', message))
            if ours != theirs:
                different[name] = (ours, theirs)
    assert not different


@pytest.mark.functional
@pytest.mark.parametrize('absent', ['version', 'namespace', 'method', 'args'])
def test_the_same_answers_where_a_key_is_absent(agent, stock_server, bus_url, absent):
    guest = agent(extensions='probe')
    message = {key: value for key, value in REQUEST.items() if key != absent}
    with raw.RawClient(bus_url) as client:
        theirs = visible(client.call(stock_server, message))
        ours = visible(client.call(f'guestagent.{guest.instance}', message))
    assert ours == theirs


@pytest.mark.functional
def test_an_unknown_argument_differs_in_the_class_name_only(
    agent, stock_server, bus_url
):
    guest = agent(extensions='probe')
    message = {**REQUEST, 'args': {'zz': 1}}
    with raw.RawClient(bus_url) as client:
        theirs = visible(client.call(stock_server, message))
        ours = visible(client.call(f'guestagent.{guest.instance}', message))
    assert ours == theirs


@pytest.mark.functional
@pytest.mark.parametrize(
    'body',
    [
        b'garbage',
        b'[1]',
        b'"x"',
        b'{"oslo.version": "1.0", "oslo.message": "{}"}',
        b'{"oslo.version": "2.1", "oslo.message": "{}"}',
        b'{"oslo.version": "2.0", "oslo.message": "{"}',
        b'\x00\xff' * 1000,
        b'',
    ],
)
def test_what_is_no_message_gets_no_answer_and_does_no_harm(agent, bus_url, body):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    with raw.RawClient(bus_url) as client:
        client.send(topic, body)
        reply = client.call(topic, REQUEST)
        assert reply['result'] == 'hello'
        assert client.depth(topic) == 0
    assert guest.running


@pytest.mark.functional
def test_a_bare_message_is_taken(agent, bus_url):
    guest = agent(extensions='probe')
    with raw.RawClient(bus_url) as client:
        reply = client.call(f'guestagent.{guest.instance}', REQUEST, envelope=False)
    assert reply['result'] == 'hello'


@pytest.mark.functional
def test_a_sending_that_comes_twice_runs_once(agent, bus_url, tmp_path):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    message = {
        **REQUEST,
        'method': 'mark',
        'args': {'text': 'once'},
        '_unique_id': 'same',
    }
    with raw.RawClient(bus_url) as client:
        assert client.call(topic, message)['result'] == 1
        assert client.call(topic, message, seconds=1) is None
        assert client.call(topic, REQUEST)['result'] == 'hello'
    assert (tmp_path / 'marks').read_text() == 'once\n'


@pytest.mark.functional
@pytest.mark.parametrize('method', ['nope', 'climb'])
def test_signs_of_life_end_with_the_answer(agent, bus_url, tmp_path, method):
    guest = agent(extensions='probe')
    there = tmp_path / 'there'
    message = {**REQUEST, 'method': method, 'args': {'to': str(there)}, '_timeout': 2}
    with raw.RawClient(bus_url) as client:
        replies = [client.call(f'guestagent.{guest.instance}', message)]
        while not replies[-1]['ending']:
            if len(replies) == 2:
                there.touch()
            replies.append(client.receive(60))
        assert client.receive(2.5) is None
    assert len(replies) >= 3 if method == 'climb' else len(replies) == 1
    assert all((r['result'], r['failure']) == (None, None) for r in replies[:-1])


@pytest.mark.functional
@pytest.mark.parametrize('target', ['guestagent.other', 'conductor', None, 5, ''])
def test_a_reply_goes_to_reply_queues_only(agent, bus_url, target):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    with raw.RawClient(bus_url) as client:
        client.channel.queue_declare('guestagent.other', auto_delete=False)
        client.send(topic, {**REQUEST, '_msg_id': 'm', '_reply_q': target})
        assert client.call(topic, REQUEST)['result'] == 'hello'
        assert client.depth('guestagent.other') == 0


@pytest.mark.functional
def test_a_client_that_has_gone_is_noticed_and_blocks_nobody(agent, bus_url):
    guest = agent(extensions='probe')
    topic = f'guestagent.{guest.instance}'
    with raw.RawClient(bus_url) as client:
        for number in range(20):
            client.send(
                topic,
                {**REQUEST, '_msg_id': f'm{number}', '_reply_q': f'reply_gone{number}'},
            )
        assert client.call(topic, REQUEST, seconds=30)['result'] == 'hello'
    guest.wait_line(r'a reply to reply_gone\d+ was returned: its client has gone')
