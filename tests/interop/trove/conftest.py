# SPDX-License-Identifier: Apache-2.0
"""One control plane of Trove for the worker, and one guest of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import databases, servers
from devstack import swift as swifts

for name in ('fleet', 'guest_api', 'server', 'storage', 'volumes'):
    pytest.register_assert_rewrite(f'tests.interop.trove.{name}')

from tests.interop.trove import account, guests  # noqa: E402
from tests.interop.trove import plane as planes  # noqa: E402

#: Of the guests: small parts, so that there are several.
OPTIONS = {'datastore': {'backup_segment_size': 1024**2, 'log_part_size': 4096}}


@pytest.fixture(scope='session')
def plane(
    tmp_path_factory: pytest.TempPathFactory, mariadb: databases.MariaDB
) -> Iterator[planes.Plane]:
    """Trove's conductor on its own schema, and a driver of its API."""
    if not (planes.TROVE / 'bin' / 'trove-conductor').exists():
        pytest.fail('Trove is not there: run devstack/prepare test', pytrace=False)
    node = servers.RabbitMQ(tmp_path_factory.mktemp('rabbitmq'))
    made = planes.Plane(tmp_path_factory.mktemp('trove'), node, mariadb)
    yield made
    made.close()
    node.stop()


@pytest.fixture(scope='module')
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[swifts.Swift]:
    """A Swift; a test that stops some of it starts it again."""
    server = swifts.Swift(tmp_path_factory.mktemp('swift'))
    yield server
    server.stop()


@pytest.fixture(scope='module', params=['secure', 'plain'])
def guest(
    request: pytest.FixtureRequest, plane: planes.Plane, swift_server: swifts.Swift
) -> Iterator[guests.Guest]:
    """An instance that Trove has prepared: one with secure RPC, its backups and logs in
    Swift, and one without, which keeps them in a folder.
    """
    secure = request.param == 'secure'
    swift = account.Account(swift_server) if secure else None
    made = guests.Guest(plane, secure, options=OPTIONS, swift=swift)
    try:
        # Nobody is there yet: prepare waits in the queue that Trove makes for it.
        made.prepare(
            databases=[{'_name': 'shop', '_character_set': 'utf8mb4'}],
            users=[
                {
                    '_name': 'anna',
                    '_host': '%',
                    '_password': 'hunter2-anna',
                    '_databases': [{'_name': 'shop'}],
                }
            ],
            overrides={'max_connections': 77},
            config_contents='[mysqld]\nwait_timeout = 1234\n',
        )
        made.start()
        made.wait_status('healthy')
        yield made
    finally:
        made.remove()


@pytest.fixture
def new_guest(plane: planes.Plane) -> Iterator[Callable[..., guests.Guest]]:
    """``new_guest(secure, **more)``: an instance that nobody has prepared, no agent."""
    made: list[guests.Guest] = []

    def make(secure: bool = True, **more: Any) -> guests.Guest:
        made.append(guests.Guest(plane, secure, **more))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()
