# SPDX-License-Identifier: Apache-2.0
"""One control plane of Trove for the worker, and one guest of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from devstack import databases, servers

pytest.register_assert_rewrite('tests.interop.trove.guest_api')
pytest.register_assert_rewrite('tests.interop.trove.server')

from tests.interop.trove import bed  # noqa: E402


@pytest.fixture(scope='session')
def plane(
    tmp_path_factory: pytest.TempPathFactory, mariadb: databases.MariaDB
) -> Iterator[bed.Plane]:
    """Trove's conductor on its own schema, and a driver of its API."""
    if not (bed.TROVE / 'bin' / 'trove-conductor').exists():
        pytest.fail('Trove is not there: run devstack/prepare test', pytrace=False)
    node = servers.RabbitMQ(tmp_path_factory.mktemp('rabbitmq'))
    made = bed.Plane(tmp_path_factory.mktemp('trove'), node, mariadb)
    yield made
    made.close()
    node.stop()


@pytest.fixture(scope='module', params=['secure', 'plain'])
def guest(request: pytest.FixtureRequest, plane: bed.Plane) -> Iterator[bed.Guest]:
    """An instance that Trove has prepared, with secure RPC and without."""
    made = bed.Guest(plane, request.param == 'secure')
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
def new_guest(plane: bed.Plane) -> Iterator[Callable[..., bed.Guest]]:
    """``new_guest(secure)``: an instance that nobody has prepared, and no agent."""
    made: list[bed.Guest] = []

    def make(secure: bool = True, *kind: str) -> bed.Guest:
        made.append(bed.Guest(plane, secure, *kind))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()
