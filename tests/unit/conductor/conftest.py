# SPDX-License-Identifier: Apache-2.0
"""A database of each kind for each test, and reports that are made in one line."""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import databases
from guestagent.conductor import report
from guestagent.conductor.db import engine

_numbers = itertools.count(1)

Make = Callable[..., report.Report]

HEARTBEAT = {
    'status': 'running',
    'agent_version': '0.1.0',
    'interval': 10,
    'started': 5.0,
    'extensions': {},
}
OUTCOME = {
    'command_id': 'c',
    'caller': '',
    'command': 'exec.run',
    'digest': 'd',
    'outcome': 'done',
    'result': None,
    'error': None,
    'started': None,
    'seconds': None,
}


def _payload(
    kind: str = 'heartbeat',
    instance: str = 'i',
    generation: str = 'one',
    sequence: Any = 1,
    id: str = '',
    **data: Any,
) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        'heartbeat': HEARTBEAT,
        'facts': {'full': False, 'facts': {}},
        'outcome': OUTCOME,
        'event': {'type': 'test.x', 'at': 7.0, 'data': {}},
    }[kind]
    return {
        'id': id,
        'instance': instance,
        'kind': kind,
        'generation': generation,
        'sequence': sequence,
        'boot_id': 'boot',
        'sent': 1.0,
        'data': {**defaults, **data},
    }


@pytest.fixture(scope='session')
def payload() -> Callable[..., dict[str, Any]]:
    """``payload(kind, instance, generation, sequence, **data)``, as JSON gives it."""
    return _payload


@pytest.fixture(scope='session')
def make() -> Make:
    """The same, checked: a :class:`guestagent.conductor.report.Report`."""
    return lambda *args, **data: report.parse(_payload(*args, **data))


@pytest.fixture(
    params=[
        'sqlite',
        pytest.param('postgresql', marks=pytest.mark.functional),
        pytest.param('mariadb', marks=pytest.mark.functional),
    ]
)
def database_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """The URL of an empty database; the tests run once for each kind."""
    if request.param == 'sqlite':
        return f'sqlite:///{tmp_path / "test.sqlite"}'
    server: databases.Database = request.getfixturevalue(request.param)
    return server.add(f'unit_{next(_numbers)}')


@pytest.fixture
def database(database_url: str) -> Iterator[engine.Database]:
    """A database with empty tables."""
    opened = engine.Database(database_url)
    opened.sync()
    yield opened
    opened.close()
