# SPDX-License-Identifier: Apache-2.0
"""What a guest reports: outcomes, facts, events and heartbeats."""

import json
import pathlib

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes
from guestagent import errors
from tests.functional import raw

pytestmark = pytest.mark.functional


class Reports:
    """Reads what a guest reports, as a conductor would."""

    def __init__(self, client):
        self._channel = client.channel
        self._channel.exchange_declare(
            'guestagent_reports', 'topic', durable=True, auto_delete=False
        )
        self._channel.queue_declare(
            'guestagent_reports.info', durable=True, auto_delete=False
        )
        self._channel.queue_bind(
            'guestagent_reports.info', 'guestagent_reports', 'guestagent_reports.info'
        )
        self.seen = []

    def wait(self, kind, condition=lambda data: True):
        """Return the payload of the first such report that was not returned yet."""

        def look():
            while message := self._channel.basic_get(
                'guestagent_reports.info', no_ack=True
            ):
                inner = json.loads(json.loads(message.body)['oslo.message'])
                self.seen.append(inner['payload'])
            for payload in self.seen:
                if payload['kind'] == kind and condition(payload['data']):
                    self.seen.remove(payload)
                    return payload
            return None

        return processes.wait_for(look, f'a report of the kind {kind}')


@pytest.fixture
def client(bus_url):
    with raw.RawClient(bus_url) as made:
        yield made


@pytest.fixture
def reports(client):
    return Reports(client)


def test_casts_have_outcomes(agent, stock_client, reports):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')

    probe.cast(
        {'guestagent_command_id': 'c1', 'guestagent_caller': 'me'}, 'mark', text='x'
    )
    outcome = reports.wait('outcome')['data']
    assert (
        outcome['command_id'],
        outcome['caller'],
        outcome['command'],
        outcome['outcome'],
        outcome['result'],
        outcome['error'],
    ) == ('c1', 'me', 'probe.mark', 'done', 1, None)
    assert outcome['seconds'] >= 0

    for method, arguments, code in [
        ('fail', {'kind': 'ours'}, 'invalid'),
        ('nope', {}, 'no-such-method'),
        ('hang', {'seconds': 20}, 'timeout'),
        ('fail', {'kind': 'odd'}, 'failed'),
    ]:
        probe.cast({}, method, **arguments)
        outcome = reports.wait('outcome')['data']
        assert (outcome['outcome'], outcome['error']['code']) == ('failed', code)

    probe.cast({}, 'secret')
    outcome = reports.wait('outcome')['data']
    assert (outcome['outcome'], outcome['result']) == ('withheld', None)
    assert 'hunter2' not in guest.output()


def test_the_outcome_of_a_call_whose_caller_has_gone_is_reported(
    agent, client, reports
):
    guest = agent(extensions='probe')

    client.send(
        f'guestagent.{guest.instance}',
        {
            'method': 'mark',
            'namespace': 'probe',
            'args': {'text': 'x'},
            '_msg_id': 'm',
            '_reply_q': 'reply_gone',
        },
    )

    assert reports.wait('outcome')['data']['result'] == 1


def test_facts_events_and_heartbeats(agent, stock_client, reports):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')

    beat = reports.wait('heartbeat')
    assert beat['instance'] == guest.instance
    assert (
        beat['boot_id']
        == pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    )
    assert beat['data']['extensions']['probe'] == {
        'version': '1.2',
        'health': 'ok',
        'distribution': 'guestagent-probe',
        'distribution_version': '1.0',
    }

    probe.call({}, 'tell', facts={'a': 1, 'b': 2}, event='told')
    first = reports.wait('facts')
    assert first['data'] == {'full': True, 'facts': {'probe.a': 1, 'probe.b': 2}}
    assert reports.wait('event')['data']['type'] == 'probe.told'

    probe.call({}, 'tell', facts={'a': 1, 'b': None, 'c': 3})
    second = reports.wait('facts')
    assert second['data'] == {'full': False, 'facts': {'probe.b': None, 'probe.c': 3}}
    assert (second['generation'], second['sequence']) == (
        first['generation'],
        first['sequence'] + 1,
    )

    guest.stop()
    last = reports.wait('heartbeat', lambda data: data['status'] == 'stopping')
    assert last['sequence'] > beat['sequence']


def test_a_stock_listener_reads_the_reports(agent, bus_url, stock_client):
    conf = cfg.CONF
    transport = oslo_messaging.get_notification_transport(conf, bus_url)
    got = []

    class Endpoint:
        def info(self, context, publisher, event_type, payload, metadata):
            got.append((publisher, event_type, payload['kind']))

    conf.set_override('amqp_durable_queues', True, 'oslo_messaging_rabbit')
    listener = oslo_messaging.get_notification_listener(
        transport,
        [
            oslo_messaging.Target(
                exchange='guestagent_reports', topic='guestagent_reports'
            )
        ],
        [Endpoint()],
    )
    listener.start()
    try:
        guest = agent(extensions='probe')
        wanted = (f'guestagent.{guest.instance}', 'guestagent.heartbeat', 'heartbeat')
        processes.wait_for(lambda: wanted in got, 'a heartbeat')
    finally:
        listener.stop()
        listener.wait()
        transport.cleanup()
        conf.clear_override('amqp_durable_queues', 'oslo_messaging_rabbit')


def test_all_facts_are_reported_when_asked_for(agent, stock_client, reports):
    guest = agent(extensions='probe')
    probe = stock_client(guest.instance, namespace='probe')
    # One after the other: what waits is sent as one.
    probe.call({}, 'tell', facts={'a': 1})
    reports.wait('facts', lambda data: data['facts'] == {'probe.a': 1})
    probe.call({}, 'tell', facts={'b': 2})
    reports.wait('facts', lambda data: data['facts'] == {'probe.b': 2})

    stock_client(guest.instance, namespace='agent').cast({}, 'report')

    asked = reports.wait('facts', lambda data: len(data['facts']) == 2)
    assert asked['data'] == {'full': True, 'facts': {'probe.a': 1, 'probe.b': 2}}
    assert not [r for r in reports.seen if r['kind'] == 'outcome']


def test_a_conductor_with_an_empty_database_learns_the_extensions(
    agent, conductor, query, tmp_path
):
    """Given an agent that says all of it in every thirtieth heartbeat only."""

    def learns(child, instance):
        def known():
            try:
                shown = query('instance_show', instance=instance)
            except errors.NoSuchInstance:
                return False
            return shown['extensions'].get('probe', {}).get('health') == 'ok'

        child.wait_for(known, 'the extensions are known')

    first = conductor()
    options = {'reports': {'heartbeat_interval': 3}}
    guest = agent(extensions='probe', options=options)
    learns(first, guest.instance)
    assert first.stop() == 0

    second = conductor(
        {
            'database': {'connection': f'sqlite:///{tmp_path}/another.sqlite'},
            'conductor': {'facts_gap_after': 0.2},
        }
    )

    learns(second, guest.instance)
    assert 'asked for all, of' in second.output()
