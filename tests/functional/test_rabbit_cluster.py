# SPDX-License-Identifier: Apache-2.0
"""A cluster of three nodes that loses the one that the agent is on."""

import re

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import cluster, processes
from tests.functional import faults

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope='module')
def three(tmp_path_factory):
    made = cluster.Cluster(tmp_path_factory.mktemp('cluster'))
    yield made
    made.kill()


@pytest.fixture
def nodes(three):
    """The nodes; what one test kills is there again for the next."""
    for node in three.nodes:
        if not node.running:
            node.start()
    return three


@pytest.fixture
def vhost(nodes, request):
    name = f'{abs(hash(request.node.name))}'
    nodes.nodes[0].add_vhost(name)
    return name


@pytest.fixture
def bus_url(nodes, vhost):
    return nodes.nodes[0].url_of(vhost)


@pytest.fixture
def probe_on():
    """``probe_on(url, instance, quorum, durable)``: a stock client with that URL."""
    transports = []

    def make(url, instance, quorum=False, durable=False):
        url += (
            f'?rabbit_quorum_queue={quorum}&rabbit_transient_quorum_queue={quorum}'
            f'&amqp_durable_queues={durable}'
        )
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
        transports.append(transport)
        return oslo_messaging.get_rpc_client(
            transport,
            oslo_messaging.Target(
                exchange='guestagent', topic=f'guestagent.{instance}', namespace='probe'
            ),
            timeout=5,
        )

    cfg.CONF([])
    yield make
    for transport in transports:
        transport.cleanup()


def home(nodes, guest):
    """Return the node on which an agent is connected last."""

    def look():
        ports = re.findall(r'connected to RabbitMQ at 127.0.0.1:(\d+)', guest.output())
        return [node for node in nodes.nodes if str(node.port) in ports[-1:]]

    return processes.wait_for(look, 'it is connected')[0]


def others(nodes, lost):
    return [node for node in nodes.nodes if node is not lost]


def test_the_agent_goes_on_with_another_node(agent, nodes, vhost, probe_on):
    url = nodes.url_of(vhost)
    guest = agent(extensions='probe', options=faults.options(url))
    lost = home(nodes, guest)
    rest = others(nodes, lost)
    # It hears of the loss as the agent does, and not by its own connection.
    client = probe_on(rest[0].url_of(vhost), guest.instance)
    faults.wait_answer(client)

    lost.kill()

    faults.wait_answer(client)
    assert home(nodes, guest) in rest
    assert 'Traceback' not in guest.output()


def test_what_waits_in_a_quorum_queue_survives_its_node(
    agent, nodes, vhost, probe_on, tmp_path
):
    options = faults.options(
        nodes.url_of(vhost),
        rabbit_quorum_queue=True,
        rabbit_transient_quorum_queue=True,
        rabbit_quorum_delivery_limit=20,
        kombu_failover_strategy='shuffle',
    )
    guest = agent(extensions='probe', options=options)
    lost = home(nodes, guest)
    client = probe_on(others(nodes, lost)[0].url_of(vhost), guest.instance, quorum=True)
    faults.wait_answer(client)
    guest.stop()
    for number in range(10):
        client.cast({}, 'mark', text=f'mark-{number}')

    lost.kill()
    # Whether it is ready would be asked of the first node, which may be the lost one.
    agent(guest.instance, options, wait=False, extensions='probe')

    marks = tmp_path / 'marks'
    processes.wait_for(
        lambda: marks.exists() and len(marks.read_text().split()) >= 10, 'marks', 120
    )
    assert sorted(marks.read_text().split()) == [f'mark-{n}' for n in range(10)]
    faults.wait_answer(client)


def test_a_classic_durable_queue_waits_for_its_node(agent, nodes, vhost, probe_on):
    options = faults.options(nodes.url_of(vhost), amqp_durable_queues=True)
    guest = agent(extensions='probe', options=options)
    lost = home(nodes, guest)

    lost.kill()
    guest.wait_line(r'\(a quorum queue, .* rabbit_quorum_queue, is on several\)', 120)
    lost.start()

    client = probe_on(lost.url_of(vhost), guest.instance, durable=True)
    faults.wait_answer(client)
    assert 'Traceback' not in guest.output()
