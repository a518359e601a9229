# SPDX-License-Identifier: Apache-2.0
"""guestagent.client on a real bus: what the fake driver cannot show."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import processes, servers
from guestagent import client, errors

pytestmark = pytest.mark.functional


@pytest.fixture
def guests(bus_url: str) -> Iterator[client.Client]:
    with client.Client(url=bus_url, caller='tester') as made:
        yield made


def test_unknown_guest_is_noticed_at_once(guests: client.Client) -> None:
    start = time.monotonic()

    with pytest.raises(client.NoSuchGuest):
        guests.call('vm-1', 'exec.run', {'argv': ['true']}, timeout=300)
    with pytest.raises(client.NoSuchGuest):
        guests.cast('vm-1', 'exec.run', {'argv': ['true']})
    with pytest.raises(client.NoAnswer):
        guests.conductor.within(300).instance_list()

    assert time.monotonic() - start < 150


def test_errors_come_as_what_they_are(agent: Any, guests: client.Client) -> None:
    name = agent().instance

    for command, arguments, kind in (
        ('agent.describe', {'extension': 'nope'}, errors.NoSuchRecord),
        ('agent.describe', {'extension': 1}, errors.InvalidArgument),
        ('agent.nope', {}, errors.NoSuchMethod),
        ('nope.nope', {}, errors.UnsupportedVersion),
    ):
        with pytest.raises(kind) as caught:
            guests.call(name, command, arguments)
        assert type(caught.value) is kind
        assert '\n' not in str(caught.value)


def test_repeat_of_a_command_that_ran_does_not_run_it(
    agent: Any, tmp_path: Any, guests: client.Client
) -> None:
    name = agent().instance
    request = {'shell': f'echo ran >> {tmp_path}/ran'}

    first = guests.call(name, 'exec.run', request, command_id='id-1')
    again = guests.call(name, 'exec.run', request, command_id='id-1')

    assert again == first
    assert (tmp_path / 'ran').read_text() == 'ran\n'
    with pytest.raises(errors.IdReused):
        guests.call(name, 'exec.run', {'argv': ['true']}, command_id='id-1')


def test_repeat_while_it_runs_waits_for_it(
    agent: Any, tmp_path: Any, guests: client.Client
) -> None:
    name = agent().instance
    request = {'shell': f'echo ran >> {tmp_path}/ran; sleep 2; echo end'}

    result = guests.call(name, 'exec.run', request, timeout=120, attempt_timeout=0.5)

    assert result['stdout'] == 'end\n'
    assert (tmp_path / 'ran').read_text() == 'ran\n'


def test_agent_that_dies_at_work_is_noticed_early(
    agent: Any, tmp_path: Any, guests: client.Client
) -> None:
    child = agent()
    begun = tmp_path / 'begun'

    def kill() -> None:
        processes.wait_for(lambda: begun.exists() and begun.read_text(), 'it runs')
        child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    start = time.monotonic()
    with pytest.raises(client.NoAnswer):
        guests.call(
            child.instance,
            'exec.run',
            {'shell': f'echo $$ > {begun}; exec sleep 300'},
            timeout=300,
            call_monitor_timeout=4,
            retries=0,
        )
    took = time.monotonic() - start
    killer.join()
    # The command outlives its agent, and must not outlive the test.
    os.kill(int(begun.read_text()), signal.SIGKILL)

    assert took < 150


def test_long_call_lives_on_signs_of_life(agent: Any, guests: client.Client) -> None:
    name = agent().instance

    result = guests.call(
        name,
        'exec.run',
        {'argv': ['sleep', '5']},
        timeout=60,
        call_monitor_timeout=4,
        retries=0,
    )

    assert result['exit_code'] == 0


@pytest.mark.slow
def test_client_outlives_the_broker(
    agent: Any, guests: client.Client, fragile_rabbit: servers.RabbitMQ
) -> None:
    name = agent().instance
    guests.ping(name, timeout=60)

    fragile_rabbit.restart()

    def answers() -> bool:
        try:
            return guests.ping(name, timeout=5) > 0
        except errors.GuestAgentError:
            return False

    processes.wait_for(answers, 'the guest answers again', 120)


@pytest.mark.slow
def test_client_while_the_broker_is_down(
    bus_url: str, fragile_rabbit: servers.RabbitMQ
) -> None:
    fragile_rabbit.stop()
    try:
        with (
            client.Client(url=bus_url, bus_retries=0) as made,
            pytest.raises(client.BusError, match='Connection refused'),
        ):
            made.ping('vm-1')
    finally:
        fragile_rabbit.start()
