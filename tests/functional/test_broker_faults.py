# SPDX-License-Identifier: Apache-2.0
"""What a broker does to its clients: absent, refusing, dropping, restarting."""

import socket
import threading

import pytest

from devstack import processes, servers

pytestmark = pytest.mark.functional

QUICK = {
    'oslo_messaging_rabbit': {
        'kombu_reconnect_delay': 0.1,
        'kombu_reconnect_splay': 0.1,
        'rabbit_interval_max': 1,
        'connect_timeout': 2,
    }
}


@pytest.fixture(scope='module')
def own_rabbit(tmp_path_factory):
    """A node that these tests may stop."""
    node = servers.RabbitMQ(tmp_path_factory.mktemp('own'))
    yield node
    node.stop()


def answers(client):
    try:
        return client.call({}, 'echo', value=1) == 1
    except Exception:  # noqa: BLE001 (whatever a client says while the broker is away)
        return False


@pytest.fixture
def own_bus(own_rabbit, request, monkeypatch):
    """This test's virtual host on that node, as ``bus_url``."""
    return own_rabbit.add_vhost(f'own-{request.node.name}'[:60])


@pytest.fixture
def bus_url(own_bus):
    return own_bus


def test_the_agent_comes_back_after_each_dropped_connection(
    agent, stock_client, own_rabbit
):
    guest = agent(extensions='probe', options=QUICK)
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    for _ in range(3):
        own_rabbit.ctl('close_all_connections', '--global', 'test')
        processes.wait_for(lambda: answers(client), 'an answer', 30)
    assert 'Traceback' not in guest.output()
    assert guest.output().count('connected to RabbitMQ') >= 2


def test_a_reply_that_could_not_be_sent_is_sent_later(agent, stock_client, own_rabbit):
    guest = agent(extensions='probe', options=QUICK)
    client = stock_client(guest.instance, timeout=30, namespace='probe')
    got = []
    caller = threading.Thread(
        target=lambda: got.append(client.call({}, 'sleep', seconds=2))
    )
    caller.start()
    guest_name = f'guestagent.{guest.instance}'
    pid = processes.wait_for(
        lambda: [
            line.split()[0]
            for line in own_rabbit.ctl(
                '-q', 'list_connections', 'pid', 'client_properties'
            ).splitlines()
            if guest_name in line
        ],
        "the agent's connection",
    )[0]
    own_rabbit.ctl('close_connection', pid, 'test')
    caller.join(30)
    assert got == ['slept']


def test_the_broker_is_stopped_and_started(agent, stock_client, own_rabbit):
    guest = agent(extensions='probe', options=QUICK)
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    assert answers(client)

    own_rabbit.restart()

    processes.wait_for(lambda: answers(client), 'an answer', 60)
    assert 'Traceback' not in guest.output()


def test_a_broker_that_comes_later_is_found(agent, stock_client, own_rabbit):
    own_rabbit.stop()
    try:
        guest = agent(extensions='probe', wait=False, options=QUICK)
        guest.wait_line('next attempt in')
    finally:
        own_rabbit.start()
    client = stock_client(guest.instance, timeout=5, namespace='probe')
    processes.wait_for(lambda: answers(client), 'an answer', 60)


def test_a_refused_login_is_said_without_the_password(agent, own_bus):
    url = own_bus.replace('guest:guest@', 'guest:hunter2@')
    guest = agent(
        extensions='probe',
        wait=False,
        options={'DEFAULT': {'transport_url': url}, **QUICK},
    )

    guest.wait_line('(?i)refuse.*next attempt')
    guest.wait_line('(?i)refuse(.|\n)*refuse', seconds=10)
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
        options={'DEFAULT': {'transport_url': f'rabbit://127.0.0.1:{port}/'}, **QUICK},
    )
    try:
        processes.wait_for(
            lambda: guest.output().count('next attempt') >= 2, 'two attempts'
        )
        assert guest.stop(5) == 0
        assert 'Traceback' not in guest.output()
    finally:
        listener.close()
