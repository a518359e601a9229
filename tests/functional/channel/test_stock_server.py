# SPDX-License-Identifier: Apache-2.0
"""Stock servers and listeners of notifications on a hub."""

import contextlib

import oslo_messaging
import pytest

from devstack import processes
from tests.functional import hubs

pytestmark = pytest.mark.functional


class Endpoint:
    """Serves what the tests of a stock server ask for."""

    def __init__(self):
        self.seen = []

    def add(self, ctxt, number):
        self.seen.append(number)
        return number + 1

    def info(self, ctxt, publisher, event_type, payload, metadata):
        self.seen.append(payload)
        if payload == 'again' and self.seen.count('again') < 3:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED


@contextlib.contextmanager
def running(server):
    server.start()
    yield
    server.stop()
    server.wait()


def test_a_stock_server_outlives_a_hub(hub, transport, tmp_path, children):
    endpoint = Endpoint()
    target = oslo_messaging.Target(topic='service', server='one')
    server = oslo_messaging.get_rpc_server(transport, target, [endpoint])
    client = oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic='service'), timeout=60
    )
    with running(server):
        assert client.call({}, 'add', number=1) == 2
        hub.kill()
        children.append(hubs.Hub(tmp_path))
        # The server's subscriptions come with the connection that the call waits for.
        assert client.call({}, 'add', number=2) == 3


def test_a_notification_that_is_put_back_comes_again(hub, transport):
    endpoint = Endpoint()
    notifier = oslo_messaging.Notifier(
        transport, 'me', driver='messaging', topics=['notes']
    )
    # It waits for a listener.
    notifier.info({}, 'event', 'first')
    listener = oslo_messaging.get_notification_listener(
        transport,
        [oslo_messaging.Target(topic='notes')],
        [endpoint],
        allow_requeue=True,
    )
    with running(listener):
        processes.wait_for(lambda: endpoint.seen == ['first'], 'the first')
        notifier.info({}, 'event', 'again')
        processes.wait_for(lambda: endpoint.seen.count('again') == 3, 'three times')
