# SPDX-License-Identifier: Apache-2.0
"""The servers that all other functional tests stand on."""

import os
import pathlib
import signal
import subprocess
import sys

import amqp
import pytest

from devstack import processes, servers, stack


def publish(url: str, queue: str, body: str) -> None:
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        channel.basic_publish(amqp.Message(body, delivery_mode=2), routing_key=queue)


def fetch(url: str, queue: str) -> str | None:
    with connect(url) as connection:
        message = connection.channel().basic_get(queue, no_ack=True)
        return message.body if message else None


def connect(url: str) -> amqp.Connection:
    host, _, vhost = url.removeprefix('rabbit://guest:guest@').partition('/')
    return amqp.Connection(host, virtual_host=vhost or '/')


def test_a_restarted_node_keeps_port_and_messages(tmp_path: pathlib.Path) -> None:
    node = servers.RabbitMQ(tmp_path / 'node', servers.SMALL_BUFFERS)
    try:
        publish(node.url, 'kept', 'safe')
        node.restart()
        assert fetch(node.url, 'kept') == 'safe'
    finally:
        node.kill()
    assert not processes.accepts(node.port)


def test_virtual_hosts_keep_tests_apart(rabbit: servers.RabbitMQ, bus_url: str) -> None:
    publish(bus_url, 'queue', 'mine')
    other = rabbit.add_vhost('another')
    assert fetch(bus_url, 'queue') == 'mine'
    with pytest.raises(amqp.NotFound):
        fetch(other, 'queue')


def test_consumers_are_counted(bus_url: str) -> None:
    publish(bus_url, 'queue', 'mine')
    assert stack.consumers(bus_url, 'absent') == 0
    assert stack.consumers(bus_url, 'queue') == 0
    with connect(bus_url) as connection:
        connection.channel().basic_consume('queue', callback=print)
        assert stack.consumers(bus_url, 'queue') == 1


def test_a_failed_rabbitmqctl_says_why(rabbit: servers.RabbitMQ) -> None:
    with pytest.raises(processes.Failed, match=r'delete_vhost absent: .+'):
        rabbit.ctl('delete_vhost', 'absent')


def test_no_server_outlives_a_killed_parent(tmp_path: pathlib.Path) -> None:
    # Given a program with a node that is killed before it can stop it,
    parent = subprocess.Popen(
        [
            sys.executable,
            '-c',
            'import pathlib, sys, time\n'
            'from devstack import servers\n'
            'node = servers.RabbitMQ(pathlib.Path(sys.argv[1]))\n'
            'print(node.pid, node.port, flush=True)\n'
            'time.sleep(600)\n',
            str(tmp_path / 'node'),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).resolve().parents[3],
    )
    assert parent.stdout is not None
    pid, port = map(int, parent.stdout.readline().split())
    # when it is killed,
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    # then the node goes too.
    processes.wait_for(lambda: not processes.accepts(port), 'the port is closed')
    processes.wait_for(lambda: not os.path.exists(f'/proc/{pid}'), 'the node ended')
