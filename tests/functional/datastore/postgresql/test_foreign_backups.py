# SPDX-License-Identifier: Apache-2.0
"""Backups as Trove's own agent makes them, restored here: its commands, its headers."""

from __future__ import annotations

import pathlib
import re
import subprocess
import tarfile
from collections.abc import Callable

import pytest
from guestagent_datastore import models, programs

from guestagent import errors
from tests.functional.datastore.postgresql import cluster

NewCluster = Callable[[], cluster.Cluster]
Part = tuple[pathlib.Path, dict[str, str]]


def run(server: cluster.Cluster, path: pathlib.Path, *argv: str) -> None:
    """Run a program as the server's user; what it writes goes into a file."""
    command = models.Command(argv, user=server.engine.place.user, folder=server.folder)
    with open(path, 'wb') as file:
        subprocess.run(
            argv,
            stdout=file,
            check=True,
            cwd=server.folder,
            env=programs.environment(command),
            timeout=100,
            **programs.account(command),
        )


def wal_file(server: cluster.Cluster, place: str) -> str:
    """Return the file of a place in the WAL."""
    [(name,)] = server.query(f'SELECT pg_walfile_name({place})')
    return str(name)


def full(server: cluster.Cluster) -> Part:
    """As ``PgBasebackup`` of Trove 26 does it."""
    path = server.folder / 'full.tar'
    program = server.engine.program('pg_basebackup')
    run(
        server,
        path,
        *('sh', '-c', f'{program} "$@" | gzip -dc', 'sh'),
        *('-h', str(server.engine.place.run), '-p', str(server.port)),
        *('-U', 'postgres', '-Ft', '-z', '--wal-method=fetch', '--label=b1'),
        *('--checkpoint=fast', '--pgdata=-'),
    )
    last = wal_file(server, 'pg_current_wal_lsn() - 1')
    with tarfile.open(path) as archive:
        label = archive.extractfile('backup_label')
        assert label is not None
        [first] = re.findall(r'START WAL .*\(file (.*)\)', label.read().decode())
    return path, {
        'datastore': 'postgresql',
        'datastore_version': '15',
        'start_wal_file': first,
        'stop_wal_file': last,
        'label': 'b1',
    }


def incremental(server: cluster.Cluster, parent: Part, name: str) -> Part:
    """As ``PgBasebackupIncremental`` does it; of the WAL instead of its archive."""
    stop = wal_file(server, 'pg_switch_wal()')
    folder = server.data / 'pg_wal'
    begin = parent[1]['start_wal_file']
    names = [
        one.name
        for one in sorted(folder.glob('0*'))
        if begin <= one.name <= stop and len(one.name) == 24
    ]
    path = server.folder / name
    run(server, path, 'tar', '-cf', '-', '-C', str(folder), *names)
    return path, {
        **parent[1],
        'start_wal_file': parent[1]['stop_wal_file'],
        'stop_wal_file': stop,
        'parent_location': 'http://swift/v1/AUTH_t/database_backups/b1.tar.gz',
        'parent_checksum': 'x',
    }


def restore(server: cluster.Cluster, *parts: Part) -> None:
    """Put backups together in a new place."""
    server.engine.configure('fsync = off\n', 64)
    with server.engine.restore(server.folder) as made:
        for path, metadata in parts:
            command = made.part(metadata)
            with open(path, 'rb') as file:
                subprocess.run(
                    command.argv,
                    stdin=file,
                    check=True,
                    cwd=command.folder,
                    env=programs.environment(command),
                    timeout=100,
                    **programs.account(command),
                )
            made.part_done()
        made.finish()


@pytest.fixture(scope='module')
def parts(postgresql: cluster.Cluster) -> list[Part]:
    """A full backup and two that follow; a row in a table before each of them."""
    postgresql.query("SELECT pg_create_physical_replication_slot('kept', true)")
    postgresql.query('CREATE TABLE public.rows AS SELECT 1 AS number')
    made = [full(postgresql)]
    for number in (2, 3):
        postgresql.query(f'INSERT INTO public.rows VALUES ({number})')
        made.append(incremental(postgresql, made[-1], f'part{number}'))
    return made


@pytest.mark.parametrize('count', [1, 3])
def test_it_is_restored(parts: list[Part], new_cluster: NewCluster, count: int) -> None:
    restored = new_cluster()
    restore(restored, *parts[:count])
    restored.start()
    found = restored.query('SELECT number FROM public.rows ORDER BY number')
    assert found == [(one,) for one in range(1, count + 1)]


def test_what_is_not_whole_is_refused(
    parts: list[Part], new_cluster: NewCluster
) -> None:
    server = new_cluster()
    nothing = server.folder / 'nothing'
    nothing.write_bytes(b'\0' * 10240)
    whole, first, second = parts
    gap = server.folder / 'gap'
    with tarfile.open(second[0]) as before, tarfile.open(gap, 'w') as after:
        last = before.getmember(second[1]['stop_wal_file'])
        after.addfile(last, before.extractfile(last))
    strange = {**second[1], 'stop_wal_file': '../../x'}
    for given, words in (
        ([first], 'no full backup'),
        ([whole, whole], 'does not follow'),
        ([whole, (gap, second[1])], 'not whole: no WAL'),
        ([whole, (nothing, first[1])], 'not whole: no WAL'),
        ([whole, first, (nothing, strange)], 'does not follow|names no WAL'),
        ([(nothing, whole[1])], 'not whole: no PG_VERSION'),
    ):
        with pytest.raises(errors.GuestError, match=words):
            restore(server, *given)
        assert not server.engine.initialised()
