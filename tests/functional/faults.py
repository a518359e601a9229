# SPDX-License-Identifier: Apache-2.0
"""What tests of a broken broker share."""

from devstack import processes

#: Options of an agent that is quick to come back.
QUICK = {
    'oslo_messaging_rabbit': {
        'kombu_reconnect_delay': 0.1,
        'kombu_reconnect_splay': 0.1,
        'rabbit_interval_max': 1,
        'connect_timeout': 2,
    }
}


def options(url=None, **rabbit):
    """Return QUICK with more options of RabbitMQ, and another transport URL."""
    made = {'oslo_messaging_rabbit': {**QUICK['oslo_messaging_rabbit'], **rabbit}}
    if url is not None:
        made['DEFAULT'] = {'transport_url': url}
    return made


def answers(client):
    """Whether ``client``, of the namespace ``probe``, gets an answer."""
    try:
        return client.call({}, 'echo', value=1) == 1
    except Exception:  # noqa: BLE001 (whatever a client says while the broker is away)
        return False


def wait_answer(client, seconds=120):
    """Wait until ``client`` gets an answer; what is lost meanwhile is asked again."""
    processes.wait_for(lambda: answers(client), 'an answer', seconds)


def connection(node, instance):
    """Return the name of an agent's connection on a node; ``None``: it has none."""
    listed = node.ctl('list_connections', 'pid', 'client_properties')
    for line in listed.splitlines():
        if f'"guestagent.{instance}"' in line:
            return line.split()[0]
    return None
