# SPDX-License-Identifier: Apache-2.0
"""What a broker does to its clients: absent, refusing, dropping, restarting."""

import socket
import threading

import pytest

from devstack import processes
from tests.functional import faults, proxy

pytestmark = pytest.mark.functional


def test_the_agent_comes_back_after_each_dropped_connection(
    agent, stock_client, fragile_rabbit
):
    guest = agent(extensions='probe', options=faults.QUICK)
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    for _ in range(3):
        fragile_rabbit.ctl('close_all_connections', '--global', 'test')
        faults.wait_answer(client)
    assert 'Traceback' not in guest.output()
    assert guest.output().count('connected to RabbitMQ') >= 2


def test_a_reply_that_could_not_be_sent_is_sent_later(
    agent, stock_client, fragile_rabbit, tmp_path
):
    guest = agent(extensions='probe', options=faults.QUICK)
    client = stock_client(guest.instance, timeout=120, namespace='probe')
    got = []
    there = tmp_path / 'there'
    caller = threading.Thread(
        target=lambda: got.append(client.call({}, 'climb', to=str(there)))
    )
    caller.start()
    wait_running(stock_client, guest)
    pid = processes.wait_for(
        lambda: faults.connection(fragile_rabbit, guest.instance),
        "the agent's connection",
    )
    fragile_rabbit.ctl('close_connection', pid, 'test')
    there.touch()
    caller.join(120)
    assert got == ['there']


def wait_running(stock_client, guest):
    """Wait until the only command that an agent was sent runs."""
    core = stock_client(guest.instance, namespace='agent')
    processes.wait_for(
        lambda: [one['state'] for one in core.call({}, 'list')] == ['running'],
        'it runs',
    )


def test_the_broker_is_stopped_and_started(agent, stock_client, fragile_rabbit):
    guest = agent(extensions='probe', options=faults.QUICK)
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)

    fragile_rabbit.restart()

    faults.wait_answer(client)
    assert 'Traceback' not in guest.output()


def test_a_broker_that_comes_later_is_found(agent, stock_client, fragile_rabbit):
    fragile_rabbit.stop()
    try:
        guest = agent(extensions='probe', wait=False, options=faults.QUICK)
        guest.wait_line('next attempt in')
    finally:
        fragile_rabbit.start()
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)


def test_a_refused_login_is_said_without_the_password(agent, bus_url):
    url = bus_url.replace('guest:guest@', 'guest:hunter2@')
    guest = agent(
        extensions='probe',
        wait=False,
        options={'DEFAULT': {'transport_url': url}, **faults.QUICK},
    )

    guest.wait_line('(?i)refuse.*next attempt')
    guest.wait_line('(?i)refuse(.|\n)*refuse')
    assert 'hunter2' not in guest.output()


@pytest.mark.parametrize('behaviour', ['silent', 'garbage', 'closes'])
def test_what_is_no_broker_does_not_hang_the_agent(agent, behaviour):
    listener = socket.create_server(('127.0.0.1', 0))

    def serve():
        kept = []
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            if behaviour == 'garbage':
                peer.sendall(b'\x01\x00\x00\x00\x00\x00\x05hello\xce' * 10)
            if behaviour == 'closes':
                peer.close()
            kept.append(peer)

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    guest = agent(
        extensions='probe',
        wait=False,
        options={
            'DEFAULT': {'transport_url': f'rabbit://127.0.0.1:{port}/'},
            **faults.QUICK,
        },
    )
    try:
        processes.wait_for(
            lambda: guest.output().count('next attempt') >= 2, 'two attempts'
        )
        assert guest.stop() == 0
        assert 'Traceback' not in guest.output()
    finally:
        listener.close()


@pytest.fixture
def between(fragile_rabbit):
    """A proxy between the agent and the broker."""
    with proxy.Proxy(fragile_rabbit.port) as made:
        yield made


@pytest.fixture
def far_agent(agent, between, bus_url):
    """``far_agent(wait=True, **rabbit)``: an agent behind the proxy."""
    url = bus_url.replace(
        f':{bus_url.split(":")[-1].split("/")[0]}/', f':{between.port}/'
    )

    def start(wait=True, **rabbit):
        return agent(
            extensions='probe', options=faults.options(url, **rabbit), wait=wait
        )

    return start


def test_a_black_hole_is_found_by_the_heartbeats(far_agent, between, stock_client):
    guest = far_agent(heartbeat_timeout_threshold=1)
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)

    between.hole = True
    guest.wait_line('no sign of life for 2 seconds; next attempt')
    # The next one hangs in the handshake.
    guest.wait_line('timed out; next attempt')
    between.hole = False

    faults.wait_answer(client)
    assert 'Traceback' not in guest.output()


# Within the first frame, between that and the end of the login, and in the answer to
# what the agent declares.
@pytest.mark.parametrize('budget', [0, 5, 300, 520, 560])
def test_a_broker_that_stops_in_the_middle_is_left(
    far_agent, between, stock_client, budget
):
    between.budget = budget
    guest = far_agent(wait=False, connect_timeout=1)
    processes.wait_for(
        lambda: guest.output().count('next attempt') >= 2, 'two attempts'
    )
    between.budget = None
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)
    assert 'Traceback' not in guest.output()


def test_a_broker_that_stops_within_a_message_is_left(far_agent, between, stock_client):
    guest = far_agent(heartbeat_timeout_threshold=1)
    client = stock_client(guest.instance, timeout=5, namespace='probe')

    between.budget = 5000
    client.cast({}, 'echo', value='x' * 20000)
    guest.wait_line('no sign of life for 2 seconds; next attempt')
    between.budget = None

    faults.wait_answer(client)


def test_a_connection_that_is_cut_anywhere_is_made_again(
    far_agent, between, stock_client
):
    between.cut = True
    guest = None
    for between.budget in (1, 7, 300, 510, 530, 545, 560, 700):
        guest = guest or far_agent(wait=False)
        before = between.accepted
        processes.wait_for(
            lambda before=before: between.accepted > before, 'a connection'
        )
    between.cut, between.budget = False, None

    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)
    assert 'Traceback' not in guest.output()


def test_a_reply_survives_a_reset_and_latency(
    far_agent, between, stock_client, tmp_path
):
    between.latency = 0.02
    guest = far_agent()
    client = stock_client(guest.instance, timeout=120, namespace='probe')
    got = []
    there = tmp_path / 'there'
    caller = threading.Thread(
        target=lambda: got.append(client.call({}, 'climb', to=str(there)))
    )
    caller.start()
    wait_running(stock_client, guest)

    between.reset()
    there.touch()

    caller.join(120)
    assert got == ['there']


def test_waits_grow_for_a_broker_that_drops_every_connection(far_agent, between):
    between.cut, between.budget = True, 600
    guest = far_agent(wait=False, rabbit_interval_max=60, kombu_reconnect_splay=0)

    guest.wait_line(r'next attempt in 0\.[12] s')
    guest.wait_line(r'next attempt in (0\.[89]|1\.\d) s')
