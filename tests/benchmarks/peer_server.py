# SPDX-License-Identifier: Apache-2.0
"""The peers: a stock oslo.messaging echo server, run by its own Python.

Usage: ``peer_server.py A|B TRANSPORT_URL EXCHANGE TOPIC SERVER``.  A is the server
as anyone would write it.  B keeps eventlet out and has a pool of 4.
"""

import sys
import threading

VARIANT, URL, EXCHANGE, TOPIC, SERVER = sys.argv[1:]

if VARIANT == 'B':
    sys.modules['eventlet'] = None
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402


class Echo:
    """The endpoint: what comes in goes out."""

    target = oslo_messaging.Target(namespace='echo', version='1.0')

    def echo(self, context, value):
        """Return ``value``."""
        return value


def main():
    """Serve until the process is killed."""
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_rpc_transport(conf, URL)
    target = oslo_messaging.Target(exchange=EXCHANGE, topic=TOPIC, server=SERVER)
    server = oslo_messaging.get_rpc_server(transport, target, [Echo()])
    server.start(override_pool_size=4 if VARIANT == 'B' else None)
    threading.Event().wait()


main()
