# SPDX-License-Identifier: Apache-2.0
"""For unit tests: a loop, and stock oslo.messaging servers in this process, on its fake
driver.
"""

import itertools
import threading
from collections.abc import Callable, Iterator

import oslo_messaging
import pytest
from oslo_config import cfg

from guestagent import loop as loops

_numbers = itertools.count(1)


@pytest.fixture
def loop() -> Iterator[loops.Loop]:
    """A loop that the test runs itself."""
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture(scope='session')
def stopping() -> Iterator[list[threading.Thread]]:
    """The threads that stop servers: each takes a second, and no test waits for it."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join()


@pytest.fixture
def exchange() -> str:
    """The control exchange of one test: servers that still stop are on another."""
    return f'exchange-{next(_numbers)}'


@pytest.fixture
def serve(
    exchange: str, stopping: list[threading.Thread]
) -> Iterator[Callable[..., None]]:
    """``serve(topic, *endpoints)``: a stock RPC server until the test ends."""
    cfg.CONF([], default_config_files=[], default_config_dirs=[])
    # It is not cleaned up: that would empty all queues of this process.
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, 'fake://')
    servers = []

    def start(topic: str, *endpoints: object) -> None:
        server = oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(exchange=exchange, topic=topic, server='standin'),
            endpoints,
        )
        server.start()
        servers.append(server)

    def stop() -> None:
        for server in servers:
            server.stop()
            server.wait()

    yield start
    thread = threading.Thread(target=stop)
    thread.start()
    stopping.append(thread)
