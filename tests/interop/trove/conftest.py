# SPDX-License-Identifier: Apache-2.0
"""One control plane of Trove for the worker, and one guest of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack import servers
from tests.interop.trove import bed


@pytest.fixture(scope='session')
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bed.Plane]:
    """Trove's conductor on its own schema, and a driver of its API."""
    if not (bed.TROVE / 'bin' / 'trove-conductor').exists():
        pytest.fail('Trove is not there: run devstack/prepare test', pytrace=False)
    node = servers.RabbitMQ(tmp_path_factory.mktemp('rabbitmq'))
    made = bed.Plane(tmp_path_factory.mktemp('trove'), node.add_vhost('trove'))
    yield made
    made.close()
    node.stop()


@pytest.fixture(scope='module', params=['secure', 'plain'])
def guest(request: pytest.FixtureRequest, plane: bed.Plane) -> Iterator[bed.Guest]:
    """An instance that Trove has prepared, with secure RPC and without."""
    made = bed.Guest(plane, request.param == 'secure')
    try:
        # Nobody is there yet: prepare waits in the queue that Trove makes for it.
        made.cast(
            'prepare',
            'DBaaSInstanceCreate',
            memory_mb=256,
            packages='',
            databases=[{'_name': 'shop', '_character_set': 'utf8mb4'}],
            users=[
                {
                    '_name': 'anna',
                    '_host': '%',
                    '_password': 'hunter2-anna',
                    '_databases': [{'_name': 'shop'}],
                }
            ],
            device_path=None,
            mount_point=str(made.folder / 'volume'),
            overrides={'max_connections': 77},
            config_contents='[mysqld]\nwait_timeout = 1234\n',
            ds_version='10.11',
        )
        made.start()
        made.wait_status('healthy')
        yield made
    finally:
        made.remove()
