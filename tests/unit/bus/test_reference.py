# SPDX-License-Identifier: Apache-2.0
"""The bus on oslo.messaging, over the library's own transport within a process."""

import concurrent.futures
import sys
import time

import oslo_messaging
import pytest
from oslo_config import cfg

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent import rpc
from guestagent.bus import base, envelope, factory, reference
from guestagent.conf import agent

TOPIC = 'guestagent.guest'


@pytest.fixture
def conf():
    made = cfg.ConfigOpts()
    agent.register(made)
    made([], default_config_files=[], default_config_dirs=[])
    made.set_override('transport_url', 'fake://')
    made.set_override('driver', 'reference', 'bus')
    return made


@pytest.fixture
def bus(conf, loop):
    made = factory.make(conf, loop, 'guest')
    yield made
    made.close()


@pytest.fixture
def client():
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    for group, module in [
        ('oslo_messaging_metrics', '_metrics'),
        ('oslo_messaging_tracing', '_tracing'),
    ]:
        found = sys.modules.get(f'oslo_messaging.{module}.client')
        if found is not None:
            conf.register_opts(getattr(found, group), group)
    transport = oslo_messaging.get_rpc_transport(conf, 'fake://')
    target = oslo_messaging.Target(
        exchange='guestagent', topic=TOPIC, namespace='probe', version='1.0'
    )
    return oslo_messaging.get_rpc_client(transport, target, timeout=30)


def turn(loop, done, seconds=30):
    """Run the loop until ``done()``."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, 'it did not happen in time'
        loop.run_once(0.05)


class Agent:
    """Answers requests as the dispatcher would: at once, on the loop."""

    def __init__(self, bus, loop, answer):
        self.answer = answer
        self.seen = []
        self.connected = 0
        self.door = rpc.RpcDoor(bus, loop, self.submit, None, 1000)
        bus.start(self.door.receive, self.on_connected)

    def on_connected(self):
        self.connected += 1

    def submit(self, request):
        request.acknowledge()
        self.seen.append(request)
        request.door.answer(request, self.answer(request))


def ask(loop, call):
    """Run a call of the client's on a thread, and the loop until it returned."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        turn(loop, future.done)
        return future.result()


def test_a_request_comes_as_it_would_from_the_wire(bus, loop, client):
    guest = Agent(bus, loop, lambda request: requests.Outcome('done', {'a': [1]}))
    turn(loop, lambda: guest.connected)
    assert bus.connected

    context = {'user': 'me', 'guestagent_caller': 'nova', 'client_timeout': 5}
    result = ask(loop, lambda: client.call(context, 'echo', value=1))

    assert result == {'a': [1]}
    [request] = guest.seen
    assert (request.namespace, request.method, request.version) == (
        'probe',
        'echo',
        '1.0',
    )
    assert request.args == {'value': 1}
    assert request.caller == 'nova'
    assert request.values == {'user': 'me', 'guestagent_caller': 'nova'}


class Special(errors.InvalidArgument):
    """An error of an extension's own, as clients know only its base."""


@pytest.mark.parametrize(
    ('error', 'kind', 'module'),
    [
        (errors.Busy('later'), 'Busy', 'guestagent.errors'),
        (errors.NoSuchMethod('x'), 'NoSuchMethod', 'oslo_messaging.rpc.dispatcher'),
        (
            errors.UnsupportedVersion('2.0', 'x'),
            'UnsupportedVersion',
            'oslo_messaging.rpc.dispatcher',
        ),
        (Special('mine'), 'Special', 'guestagent.errors'),
        (LookupError('there', 5), 'LookupError', 'builtins'),
    ],
)
def test_a_failure_is_what_the_light_bus_would_send(
    bus, loop, client, error, kind, module
):
    guest = Agent(bus, loop, lambda request: requests.Outcome('failed', error=error))
    turn(loop, lambda: guest.connected)

    with pytest.raises(Exception) as caught:  # noqa: PT011 (of many classes)
        ask(loop, lambda: client.call({}, 'echo'))

    raised = caught.value
    assert (type(raised).__name__, type(raised).__module__) == (kind, module)
    assert (str(raised), raised.args) == (str(error), error.args)


def test_no_sign_of_life_follows_the_answer(bus, loop):
    sent = []

    class Incoming:
        msg_id = 'm'

        def heartbeat(self):
            sent.append('life')

        def reply(self, result=None, failure=None):
            sent.append(result)

    delivery = reference._Delivery(Incoming())
    for ending in (False, True, False, False):
        bus.reply(base.Reply(delivery, 'reply_m', '', 'result', ending=ending))
        bus._senders.wait_idle()

    assert sent == ['life', 'result']


@pytest.mark.parametrize(
    ('error', 'sent'),
    [
        (None, base.Sent.CONFIRMED),
        (oslo_messaging.MessageUndeliverable(None, '', '', ''), base.Sent.RETURNED),
        (oslo_messaging.MessageDeliveryFailure('away'), base.Sent.LOST),
        (OSError('away'), base.Sent.LOST),
    ],
)
def test_what_became_of_a_report(bus, loop, monkeypatch, error, sent):
    got = []
    given = []

    def send(*args, **options):
        given.append((args, options))
        if error is not None:
            raise error

    monkeypatch.setattr(bus._reports, '_send', send)
    body = envelope.notification('guestagent.g', 'guestagent.event', {'a': 1}, 'id')

    bus.report(body, got.append)
    turn(loop, lambda: got)

    assert got == [sent]
    [((target, context, message), options)] = given
    assert (target.exchange, target.topic, context) == (
        'guestagent_reports',
        'guestagent_reports.info',
        {},
    )
    assert (message['message_id'], message['payload']) == ('id', {'a': 1})
    assert options['transport_options'].at_least_once


def test_reports_rest_after_one_was_lost_and_come_again(bus, loop, monkeypatch):
    monkeypatch.setattr(reference, 'RETRY_SECONDS', 1.0)
    guest = Agent(bus, loop, None)
    turn(loop, lambda: guest.connected == 1)
    calls = []

    def send(*args, **options):
        calls.append(args)
        raise OSError('away')

    monkeypatch.setattr(bus._reports, '_send', send)
    body = envelope.notification('guestagent.g', 'guestagent.event', {}, 'id')
    got = []
    for _ in range(5):
        bus.report(body, got.append)
    turn(loop, lambda: len(got) == 5)

    assert got == [base.Sent.LOST] * 5
    assert len(calls) == 1
    assert not bus.connected
    turn(loop, lambda: guest.connected == 2)
    assert bus.connected


def test_a_stopped_bus_takes_nothing_more(bus, loop, client):
    guest = Agent(bus, loop, lambda request: requests.Outcome('done'))
    turn(loop, lambda: guest.connected)

    bus.pause()
    bus.close()
    client.cast({}, 'echo')
    loop.run_once(0.2)

    assert guest.seen == []
    assert not bus.connected


@pytest.mark.parametrize('url', ['nonsense://host', 'rabbit://host:port/', 'x'])
def test_a_url_that_the_library_does_not_know(conf, loop, url):
    conf.set_override('transport_url', url)

    with pytest.raises(errors.ConfigError, match=r'^transport_url: .+ oslo\.messaging'):
        factory.make(conf, loop, 'guest')


def test_the_library_that_is_not_installed_is_named(conf, loop, monkeypatch):
    factory._reference.cache_clear()
    monkeypatch.delattr('guestagent.bus.reference')
    monkeypatch.setitem(sys.modules, 'guestagent.bus.reference', None)

    with pytest.raises(errors.ConfigError, match=r'install guestagent\[reference\]'):
        factory.make(conf, loop, 'guest')


def test_the_librarys_own_options_may_stand_in_the_files(conf):
    found = dict(factory.library_options(conf))
    assert 'rpc_conn_pool_size' in {opt.dest for opt in found['oslo_messaging_rabbit']}

    conf.set_override('driver', 'amqp', 'bus')
    assert factory.library_options(conf) == []
