# SPDX-License-Identifier: Apache-2.0
"""A broker that is short of memory, and blocks all that publish."""

import concurrent.futures

import pytest

from devstack import processes
from tests.functional import faults, raw

pytestmark = pytest.mark.functional


@pytest.fixture
def alarm(fragile_rabbit):
    """``alarm(True)`` raises it, ``alarm(False)`` ends it."""

    def set_(on):
        fragile_rabbit.ctl('set_vm_memory_high_watermark', '0.00001' if on else '0.8')

    yield set_
    set_(False)


def test_nothing_is_lost_while_the_broker_takes_nothing(
    agent, stock_client, alarm, bus_url, tmp_path
):
    guest = agent(
        extensions='probe', options=faults.options(heartbeat_timeout_threshold=4)
    )
    probe = stock_client(guest.instance, timeout=180, namespace='probe')
    there = tmp_path / 'there'
    with raw.RawClient(bus_url) as client:
        client.channel.exchange_declare(
            'guestagent_reports', 'topic', durable=True, auto_delete=False
        )
        client.channel.queue_declare('guestagent_reports.info', auto_delete=False)
        client.channel.queue_bind(
            'guestagent_reports.info', 'guestagent_reports', 'guestagent_reports.info'
        )
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(probe.call, {}, 'climb', to=str(there)) for _ in range(8)]
        list_ = stock_client(guest.instance, namespace='agent')

        def running():
            states = [one['state'] for one in list_.call({}, 'list')]
            return states == ['running'] * 8

        processes.wait_for(running, 'they run')

        alarm(True)
        guest.wait_line('blocks what publishes')
        there.touch()
        # Longer than the broker may be silent.
        assert len(concurrent.futures.wait(calls, timeout=10).not_done) == 8
        alarm(False)

        assert [call.result() for call in calls] == ['there'] * 8

    guest.wait_line('takes messages again')
    assert faults.answers(probe)
    output = guest.output()
    assert output.count('blocks what publishes') == 1
    assert output.count('connected to RabbitMQ') == 1
    assert 'sign of life' not in output
    with raw.RawClient(bus_url) as client:
        before = client.depth('guestagent_reports.info')
        processes.wait_for(
            lambda: client.depth('guestagent_reports.info') > before, 'reports'
        )


def test_an_agent_stops_while_the_broker_takes_nothing(agent, alarm):
    guest = agent(extensions='probe', options=faults.QUICK)
    alarm(True)
    guest.wait_line('blocks what publishes')

    assert guest.stop() == 0
    assert 'Traceback' not in guest.output()
