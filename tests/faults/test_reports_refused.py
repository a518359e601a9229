# SPDX-License-Identifier: Apache-2.0
"""Reports that nobody takes: no conductor, a full queue, an exchange that is gone."""

import pytest

from devstack import processes
from guestagent import client, errors
from tests.functional import faults, raw

pytestmark = pytest.mark.functional

EVENTS = [f'probe.e{number}' for number in range(5)]


@pytest.fixture
def bus_url(new_vhost):
    return new_vhost()


@pytest.fixture
def tell(agent, guests):
    """Start an agent; have it tell of all events, and of the end of a cast."""
    child = agent('vm-1', extensions='probe', options=faults.QUICK)

    def make():
        guests.cast('vm-1', 'probe.mark', {'text': 'a'}, command_id='cast')
        for name in EVENTS:
            event = name.removeprefix('probe.')
            guests.call('vm-1', 'probe.tell', {'facts': {}, 'event': event})
        return child

    return make


def check(conductor, guests, marks):
    """With a conductor, all is known once, and in order."""
    conductor()
    assert guests.wait('vm-1', 'cast')['outcome'] == 'done'
    processes.wait_for(lambda: len(known(guests)) >= len(EVENTS), 'the events')
    assert known(guests) == EVENTS
    assert marks() == ['a']
    # A heartbeat tells it.
    processes.wait_for(lambda: dropped(guests) is not None, 'what was lost')
    assert dropped(guests) == 0


def dropped(guests):
    return guests.conductor.instance_show('vm-1')['dropped']


def known(guests):
    return [
        event['type']
        for event in guests.conductor.events('vm-1', type='probe.*', limit=1000)
    ]


@pytest.mark.parametrize('kill', [False, True])
def test_a_conductor_that_was_never_started(
    tell, agent, conductor, guests, marks, kill
):
    child = tell()
    spool = child.state / 'spool'
    child.wait_for(lambda: spool.read_bytes().count(b'"probe.e4"'), 'it is on the disk')
    if kill:
        child.kill()
        agent('vm-1', extensions='probe', options=faults.QUICK)
    check(conductor, guests, marks)


def test_a_queue_that_is_full(tell, conductor, guests, marks, bus_url, rabbit):
    vhost = bus_url.rpartition('/')[2]
    policy = ('-p', vhost, 'full')
    first = conductor()
    first.stop()
    rabbit.ctl(
        *('set_policy', *policy, '^guestagent_reports', '{"max-length": 1}'),
        *('--apply-to', 'queues'),
    )
    child = tell()
    spool = child.state / 'spool'
    child.wait_for(lambda: spool.read_bytes().count(b'"probe.e4"'), 'it is on the disk')
    child.wait_line('the queue of reports is full')
    rabbit.ctl('clear_policy', *policy)

    check(conductor, guests, marks)


def test_the_reports_exchange_is_deleted(tell, conductor, guests, marks, bus_url):
    conductor().stop()
    delete(bus_url, 'guestagent_reports')
    tell()
    check(conductor, guests, marks)


def test_the_requests_exchange_is_deleted(
    tell, conductor, guests, marks, bus_url, rabbit
):
    delete(bus_url, 'guestagent')
    # The broker tells the guest nothing of it; who sends a command is told.
    with pytest.raises(client.NoSuchGuest):
        guests.cast('vm-1', 'probe.mark', {'text': 'a'}, command_id='cast')
    rabbit.ctl('close_all_connections', '--vhost', bus_url.rpartition('/')[2], 'test')
    processes.wait_for(lambda: pinged(guests), 'the guest is back')
    tell()
    check(conductor, guests, marks)


def delete(bus_url, exchange):
    with raw.RawClient(bus_url) as caller:
        caller.channel.exchange_delete(exchange)


def pinged(guests):
    try:
        return guests.ping('vm-1')
    except (errors.NoSuchInstance, errors.Transient):
        return None
