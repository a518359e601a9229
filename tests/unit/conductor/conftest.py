# SPDX-License-Identifier: Apache-2.0
"""A database for each test, and reports that are made in one line.

``GUESTAGENT_TEST_DATABASES`` may name more databases, as URLs between spaces: the
tests then run on each of them too, and leave it empty.
"""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from guestagent.conductor import report
from guestagent.conductor.db import engine, tables

MORE_DATABASES = os.environ.get('GUESTAGENT_TEST_DATABASES', '').split()

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
    **data: Any,
) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        'heartbeat': HEARTBEAT,
        'facts': {'full': False, 'facts': {}},
        'outcome': OUTCOME,
        'event': {'type': 'test.x', 'at': 7.0, 'data': {}},
    }[kind]
    return {
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
    params=['sqlite', *MORE_DATABASES], ids=lambda url: url.partition(':')[0]
)
def database(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[engine.Database]:
    """A database with empty tables."""
    url = request.param
    if url == 'sqlite':
        url = f'sqlite:///{tmp_path / "test.sqlite"}'
    opened = engine.Database(url)
    opened.sync()
    yield opened
    if request.param != 'sqlite':
        with opened.writer.begin() as connection:
            tables.metadata.drop_all(connection)
            connection.execute(sa.text('DROP TABLE alembic_version'))
    opened.close()
