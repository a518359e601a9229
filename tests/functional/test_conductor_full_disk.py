# SPDX-License-Identifier: Apache-2.0
"""A conductor whose database, of each kind, has no more room on its disk."""

import functools
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from devstack import databases, processes
from tests.functional import reports

pytestmark = pytest.mark.functional

#: The room that is left, and events that do not fit in, in bytes.
ROOM, LARGE, COUNT = 200_000, 20_000, 200


class Small(NamedTuple):
    """A database on a small disk.

    :ivar folder: where the disk is mounted.
    :ivar revive: starts its server again, if a full disk may end it.
    """

    url: str
    folder: pathlib.Path
    revive: Callable[[], None] | None = None


def _mount(
    request: pytest.FixtureRequest, folder: pathlib.Path, size: int, user: str
) -> None:
    """Let a folder be a file system of its own, of ``size`` MiB, until the end."""
    if os.geteuid() != 0:
        pytest.skip('only root can mount a small file system')
    options = f'size={size}m,mode=700,uid={user}'
    subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'none', folder], check=True)
    request.addfinalizer(
        lambda: subprocess.run(['umount', '--lazy', folder], check=True)
    )


def _run(url: str, statement: str) -> str | None:
    """Run a statement outside a transaction; return its first value, if any."""
    engine = sa.create_engine(url, isolation_level='AUTOCOMMIT')
    with engine.connect() as connection:
        result = connection.execute(sa.text(statement))
        found = result.scalar() if result.returns_rows else None
    engine.dispose()
    return found


def _sqlite(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Small:
    _mount(request, tmp_path, 16, 'root')
    return Small(f'sqlite:///{tmp_path / "conductor.sqlite"}', tmp_path)


def _postgresql(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Small:
    server: databases.PostgreSQL = request.getfixturevalue('postgresql')
    # Where the server's user may come.
    folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-small-'))
    request.addfinalizer(folder.rmdir)
    _mount(request, folder, 24, server.user)
    for made, gone in (
        (f"TABLESPACE small LOCATION '{folder}'", 'TABLESPACE small'),
        ('DATABASE small TABLESPACE small', 'DATABASE small WITH (FORCE)'),
    ):
        _run(server.url(), f'CREATE {made}')
        request.addfinalizer(functools.partial(_run, server.url(), f'DROP {gone}'))
    return Small(server.url('small'), folder)


def _mariadb(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Small:
    # One of its own: when a disk is full it may end itself.
    server = databases.MariaDB(tmp_path)
    request.addfinalizer(server.remove)
    url = server.add('small')
    # The folder of this database alone: the server's own files have room.
    folder = pathlib.Path(_run(url, 'SELECT @@datadir') or '') / 'small'
    _mount(request, folder, 24, server.user)

    def revive() -> None:
        server.stop()
        server.start()

    return Small(url, folder, revive)


@pytest.mark.parametrize('make', [_sqlite, _postgresql, _mariadb])
def test_a_full_disk_loses_nothing_and_is_told(
    conductor,
    publisher,
    query,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[..., Small],
):
    # Given a database that works, and whose disk is then full,
    small = make(request, tmp_path_factory.mktemp('small'))
    child = conductor({'database': {'connection': small.url}})
    guest = reports.Guest(publisher, 'web-1', interval=3600)
    guest.heartbeat()
    reports.wait_state(query, 'web-1', 'UP')
    ballast = small.folder / 'ballast'
    ballast.write_bytes(b'\0' * (shutil.disk_usage(small.folder).free - ROOM))

    # when more comes than fits
    chance = random.Random(1)
    for number in range(COUNT):
        guest.event('kept', number=number, filler=chance.randbytes(LARGE // 2).hex())

    # then it is told,
    child.wait_line(
        'no reports are taken: the database: .*(full|No space left|Lost connection)'
    )
    if small.revive is None:
        # what is known can be asked for,
        assert query('instance_show', instance='web-1')['state'] == 'UP'
    # and with room again nothing was lost.
    ballast.unlink()
    if small.revive is not None:
        small.revive()

    def kept() -> set[int]:
        events = query('event_list', instance='web-1', type='test.kept', limit=1000)
        return {event['data']['number'] for event in events['events']}

    processes.wait_for(lambda: kept() == set(range(COUNT)), 'each was taken', 120)
    processes.wait_for(lambda: not publisher.depth(), 'the queue is empty', 120)
