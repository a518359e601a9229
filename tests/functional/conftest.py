# SPDX-License-Identifier: Apache-2.0
"""Fixtures of real programs on a real broker.

Each test worker has one RabbitMQ node, and each test a virtual host of its own on it,
so that nothing that one test leaves behind reaches another, and all of the project's
names keep their defaults.
"""

import contextlib
import functools
import itertools
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, servers, stack
from tests.functional import reports

#: The package of the tests' own extension.
PROBE = pathlib.Path(__file__).parent / 'probe'

#: How many virtual hosts are made at a time: each call of rabbitmqctl takes as long as
#: ten of them.
VHOSTS = 12

_numbers = itertools.count(1)


@pytest.fixture(scope='session')
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RabbitMQ]:
    """The worker's RabbitMQ node; started by the first test that wants it.

    No test stops it: with some hundred virtual hosts that takes half a minute.
    """
    node = servers.RabbitMQ(tmp_path_factory.mktemp('rabbitmq'))
    yield node
    node.kill()


@pytest.fixture(scope='session')
def fragile_rabbit(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.RabbitMQ]:
    """Another node of the worker's; a test that stops it starts it again.

    The bus of a test that asks for it is on it.
    """
    node = servers.RabbitMQ(tmp_path_factory.mktemp('fragile'))
    yield node
    node.kill()


@pytest.fixture(scope='session')
def vhosts() -> dict[str, list[str]]:
    """The URLs of virtual hosts that nobody has used, by the names of their nodes."""
    return {}


@pytest.fixture
def new_vhost(
    rabbit: servers.RabbitMQ, vhosts: dict[str, list[str]]
) -> Callable[[], str]:
    """``new_vhost()``: return the URL of a virtual host that nobody has used."""
    unused = vhosts.setdefault(rabbit.node, [])

    def take() -> str:
        if not unused:
            names = [f'test-{next(_numbers)}' for _ in range(VHOSTS)]
            unused.extend(rabbit.add_vhosts(names))
        return unused.pop()

    return take


@pytest.fixture
def bus_url(request: pytest.FixtureRequest) -> str:
    """The transport URL of a new virtual host, for one test."""
    if 'fragile_rabbit' in request.fixturenames:
        node = request.getfixturevalue('fragile_rabbit')
        return node.add_vhost(f'test-{next(_numbers)}')
    return request.getfixturevalue('new_vhost')()


@pytest.fixture
def agent(
    bus_url: str, tmp_path: pathlib.Path, children: list[processes.Process]
) -> Callable[..., stack.Agent]:
    """``agent(instance=..., options=..., wait=True, extensions='exec')``.

    ``options`` are ``{section: {name: value}}``; the extensions of the tests' own
    package ``probe`` are there beside the installed ones.

    Starts a real agent and returns it when it takes requests.  With the name of one
    that ended it is the same guest again.
    """

    def start(
        instance: str | None = None,
        options: stack.Options | None = None,
        wait: bool = True,
        extensions: str = 'exec,monitoring',
        packages: pathlib.Path = PROBE,
    ) -> stack.Agent:
        name = instance or f'guest-{next(_numbers)}'
        merged: dict[str, dict[str, object]] = {
            'DEFAULT': {'enabled_extensions': extensions},
            'probe': {'marks': tmp_path / 'marks'},
        }
        for section, values in (options or {}).items():
            merged[section] = {**merged.get(section, {}), **values}
        child = stack.Agent(tmp_path, bus_url, name, merged, packages)
        children.append(child)
        if wait:
            child.wait_ready()
        return child

    return start


@pytest.fixture
def conductor(
    bus_url: str, tmp_path: pathlib.Path, children: list[processes.Process]
) -> Callable[..., stack.Conductor]:
    """``conductor(options={section: {name: value}}, wait=True)``.

    Starts a real conductor and returns it when it takes reports and queries.  A
    second call uses the same database.
    """

    def start(
        options: stack.Options | None = None, wait: bool = True
    ) -> stack.Conductor:
        child = stack.Conductor(tmp_path, bus_url, options)
        children.append(child)
        if wait:
            child.wait_ready()
        return child

    return start


@pytest.fixture
def stock_client(bus_url: str) -> Iterator[Callable[..., oslo_messaging.RPCClient]]:
    """``stock_client(instance, timeout=60, **target)``, as a control plane has it.

    ``target`` goes to oslo.messaging's Target: namespace, version, fanout, server.
    """
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_rpc_transport(
        conf, bus_url, allowed_remote_exmods=['guestagent.errors']
    )

    def make(
        instance: str, timeout: float = 60, **target: object
    ) -> oslo_messaging.RPCClient:
        return oslo_messaging.get_rpc_client(
            transport,
            oslo_messaging.Target(
                exchange='guestagent', topic=f'guestagent.{instance}', **target
            ),
            timeout=timeout,
        )

    yield make
    transport.cleanup()


@pytest.fixture
def guestctl(bus_url: str) -> Callable[..., 'subprocess.CompletedProcess[str]']:
    """``guestctl(*arguments)``: run it to its end, whatever its exit code."""
    return functools.partial(stack.guestctl, bus_url)


@pytest.fixture
def connect(bus_url: str) -> Iterator[Callable[[], reports.Publisher]]:
    """``connect()``: return a publisher; ``conductor()`` declares its exchange."""
    with contextlib.ExitStack() as stack_of_publishers:
        yield lambda: stack_of_publishers.enter_context(reports.Publisher(bus_url))


@pytest.fixture
def query(bus_url: str) -> Iterator[reports.Query]:
    """``query(method, **arguments)``: ask as a stock client does."""
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_rpc_transport(
        conf, bus_url, allowed_remote_exmods=['guestagent.errors']
    )
    client = oslo_messaging.get_rpc_client(
        transport,
        oslo_messaging.Target(
            exchange='guestagent',
            topic='guestagent-conductor',
            namespace='conductor',
            version='1.0',
        ),
        timeout=60,
    )

    def ask(method: str, **arguments: Any) -> Any:
        return client.call({}, method, **arguments)

    yield ask
    transport.cleanup()


@pytest.fixture
def publisher(connect: Callable[[], reports.Publisher]) -> reports.Publisher:
    """One that is connected."""
    return connect()
