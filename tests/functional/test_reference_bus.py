# SPDX-License-Identifier: Apache-2.0
"""The agent on oslo.messaging as a process: brokers that leave, queues that are full,
options, and its end.
"""

import json
import re

import pytest

from devstack import processes
from tests.functional import raw

pytestmark = pytest.mark.functional

ECHO = {'method': 'echo', 'namespace': 'probe', 'args': {'value': 'hello'}}


@pytest.fixture
def guest(agent):
    """``guest(**options)``: an agent on the reference bus."""

    def start(wait=True, **options):
        options.setdefault('bus', {})['driver'] = 'reference'
        return agent(extensions='probe', options=options, wait=wait)

    return start


def test_a_broker_that_comes_back_is_found(guest, fragile_rabbit, bus_url):
    made = guest()
    topic = f'guestagent.{made.instance}'
    fragile_rabbit.restart()
    made.wait_ready()

    with raw.RawClient(bus_url) as client:
        assert client.call(topic, ECHO)['result'] == 'hello'
        # Reports come back by themselves too.
        queue_of_reports(client.channel, 1_000_000)
        processes.wait_for(
            lambda: client.depth('guestagent_reports.info'), 'a report', 120
        )


def test_the_agent_ends_though_its_broker_is_away(guest, fragile_rabbit):
    made = guest()
    fragile_rabbit.kill()
    try:
        assert made.stop() == 0
    finally:
        fragile_rabbit.start()


def test_the_agent_ends_though_its_broker_was_never_there(guest):
    made = guest(
        wait=False,
        DEFAULT={
            'transport_url': f'rabbit://guest:guest@127.0.0.1:{processes.free_port()}/'
        },
    )
    made.wait_line('Connection failed')
    assert made.stop() == 0


def test_it_says_goodbye(guest, bus_url):
    with raw.RawClient(bus_url) as client:
        queue_of_reports(client.channel, 1_000_000)
        made = guest()
        assert made.stop() == 0

        kinds = []
        while message := client.channel.basic_get('guestagent_reports.info'):
            report = json.loads(json.loads(message.body)['oslo.message'])
            kinds.append(report['payload']['data'].get('status'))
    assert kinds[-1] == 'stopping'


def test_a_report_that_finds_a_full_queue_is_rejected_and_kept(guest, bus_url):
    with raw.RawClient(bus_url) as client:
        queue_of_reports(client.channel, 1)
        made = guest()
        made.wait_line('a report was rejected by the broker')

        client.channel.queue_purge('guestagent_reports.info')

        processes.wait_for(
            lambda: client.depth('guestagent_reports.info'), 'the next report'
        )


def test_options_of_the_library_count_and_others_stop_the_start(guest):
    made = guest(
        wait=False, oslo_messaging_rabbit={'conn_pool_min_size': 1, 'amqp_durable': 'x'}
    )
    assert made.wait_end() == 2
    text = made.output()
    assert 'conn_pool_min_size' not in text
    assert re.search(r'\[oslo_messaging_rabbit\] amqp_durable: there is no such', text)


def test_a_url_that_the_library_does_not_know_stops_the_start(guest):
    made = guest(wait=False, DEFAULT={'transport_url': 'nonsense://host'})

    assert made.wait_end() == 2
    text = made.output()
    assert text.startswith('guestagent: transport_url: ')
    assert text.count('\n') == 1


def queue_of_reports(channel, length):
    channel.exchange_declare(
        'guestagent_reports', 'topic', durable=True, auto_delete=False
    )
    channel.queue_declare(
        'guestagent_reports.info',
        durable=True,
        auto_delete=False,
        arguments={'x-overflow': 'reject-publish', 'x-max-length': length},
    )
    channel.queue_bind(
        'guestagent_reports.info', 'guestagent_reports', 'guestagent_reports.info'
    )
