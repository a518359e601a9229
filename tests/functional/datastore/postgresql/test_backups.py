# SPDX-License-Identifier: Apache-2.0
"""Backups of a server at work, restored into another and compared."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from guestagent_datastore import models, programs

from devstack import processes
from guestagent import errors
from tests.functional.datastore.postgresql import cluster

NewCluster = Callable[[], cluster.Cluster]
Part = tuple[pathlib.Path, dict[str, str]]


def _popen(command: models.Command, **streams: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.argv,
        cwd=command.folder,
        env=programs.environment(command),
        **streams,  # type: ignore[call-overload]
        **programs.account(command),
    )


def _back_up(
    server: cluster.Cluster, name: str, parent: Mapping[str, str] | None = None
) -> Part:
    """Make a backup in a file and return that with its metadata."""
    work = server.folder / 'work'
    work.mkdir(exist_ok=True)
    path = server.folder / name
    with server.engine.backup(parent, work) as backup:
        with open(path, 'wb') as file:
            process = _popen(backup.command, stdout=file.fileno())
            assert process.wait(100) == 0
        metadata = backup.metadata()
    assert list(work.iterdir()) == []
    assert backup.form == 'tar'
    if parent is None:
        assert backup.estimate > path.stat().st_size / 4
    return path, metadata


def _restore(server: cluster.Cluster, *parts: Part) -> None:
    """Put backups together in a new place, and start the server."""
    server.engine.configure('fsync = off\n', 64)
    work = server.folder / 'work'
    work.mkdir(exist_ok=True)
    with server.engine.restore(work) as restore:
        for path, metadata in parts:
            with open(path, 'rb') as file:
                process = _popen(restore.part(metadata), stdin=file.fileno())
                assert process.wait(100) == 0
            restore.part_done()
        restore.finish()
    server.start()


@pytest.fixture
def rows(postgresql: cluster.Cluster) -> Iterator[None]:
    """A table that grows all the time, a row in each transaction."""
    postgresql.query('CREATE TABLE public.rows (number bigserial, text text)')
    stop = threading.Event()

    def write() -> None:
        connection = postgresql.engine.client.open()
        while not stop.is_set():
            connection.query(
                'INSERT INTO public.rows (text) VALUES (repeat(%s, 1000))', ['x']
            )
        connection.connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        _wait_for_more(postgresql, 0)
        yield
    finally:
        stop.set()
        thread.join()
    postgresql.query('DROP TABLE public.rows')


def _count(server: cluster.Cluster) -> int:
    (row,) = server.query('SELECT count(*), max(number) FROM public.rows')
    # None is missing in the middle.
    assert row[0] == row[1]
    count: int = row[0]
    return count


def _wait_for_more(server: cluster.Cluster, count: int) -> int:
    """Wait until there are more rows; return how many."""

    def more() -> int:
        ((found,),) = server.query('SELECT count(*) FROM public.rows')
        return int(found) if found > count else 0

    return processes.wait_for(more, 'rows are written', 60)


@pytest.mark.usefixtures('rows')
def test_what_was_written_is_restored(
    postgresql: cluster.Cluster, new_cluster: NewCluster
) -> None:
    user = models.User('kept', '127.0.0.1', 'hunter2 kept')
    postgresql.engine.create_users([user])
    counts = [_count(postgresql)]
    full = _back_up(postgresql, 'full')
    counts.append(_wait_for_more(postgresql, counts[-1]))
    first = _back_up(postgresql, 'first', full[1])
    counts.append(_wait_for_more(postgresql, counts[-1]))
    second = _back_up(postgresql, 'second', first[1])
    assert counts[0] < counts[1] < counts[2]

    # A full backup alone has what was there before; its children, what came later.
    restored = new_cluster()
    _restore(restored, full)
    assert counts[0] <= _count(restored) < counts[2]
    assert restored.ask('kept', 'hunter2 kept', 'SELECT 1') == [(1,)]
    restored.remove()
    restored = new_cluster()
    _restore(restored, full, first, second)
    assert _count(restored) >= counts[2]
    assert not (restored.folder / 'volume' / 'data' / 'recovery.signal').exists()
    restored.query("INSERT INTO public.rows (text) VALUES ('it takes writes')")
    restored.restart()

    # It has a timeline of its own: what follows the old backups is another server's.
    with pytest.raises(errors.InvalidArgument, match='make a full backup'):
        _back_up(restored, 'wrong', second[1])
    fresh = _back_up(restored, 'fresh')
    assert fresh[1]['timeline'] == '2'
    _back_up(restored, 'following', fresh[1])
    postgresql.engine.delete_user('kept', '%')


def test_nothing_happened_since_the_parent(
    postgresql: cluster.Cluster, new_cluster: NewCluster
) -> None:
    postgresql.query('CREATE TABLE public.rows AS SELECT 1 AS number')
    full = _back_up(postgresql, 'full')
    parts = [full]
    for number in range(3):
        parts.append(_back_up(postgresql, f'part{number}', parts[-1][1]))
    restored = new_cluster()
    _restore(restored, *parts)
    assert _count(restored) == 1
    postgresql.query('DROP TABLE public.rows')


def test_wal_is_kept_for_two_backups_and_no_more(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine

    def segments() -> int:
        postgresql.query('CHECKPOINT')
        return len(list((engine.place.data / 'pg_wal').glob('0*')))

    def work() -> None:
        for _ in range(6):
            postgresql.query('CREATE TABLE public.t AS SELECT 1')
            postgresql.query('DROP TABLE public.t')
            postgresql.query('SELECT pg_switch_wal()')

    engine.set_overrides({'min_wal_size': '32MB', 'max_wal_size': '32MB'})
    engine.apply_overrides()
    first = _back_up(postgresql, 'a')
    work()
    assert segments() >= 6
    second = _back_up(postgresql, 'b', first[1])
    work()
    # The first is still a parent: the second may never have been stored.
    _back_up(postgresql, 'c', first[1])
    third = _back_up(postgresql, 'c', second[1])
    fourth = _back_up(postgresql, 'd', third[1])
    postgresql.query('CHECKPOINT')
    assert segments() <= 4
    with pytest.raises(errors.InvalidArgument, match='not kept any more'):
        _back_up(postgresql, 'e', first[1])
    _back_up(postgresql, 'e', fourth[1])
    engine.reset_overrides(None)
    engine.apply_overrides()


def test_wal_for_a_backup_that_never_comes_does_not_fill_the_volume(
    postgresql: cluster.Cluster,
) -> None:
    engine = postgresql.engine
    engine.set_overrides({'max_slot_wal_keep_size': '48MB', 'max_wal_size': '64MB'})
    engine.apply_overrides()
    parent = _back_up(postgresql, 'a')
    for _ in range(12):
        postgresql.query('CREATE TABLE public.t AS SELECT 1')
        postgresql.query('DROP TABLE public.t')
        postgresql.query('SELECT pg_switch_wal()')
    postgresql.query('CHECKPOINT')
    with pytest.raises(errors.InvalidArgument, match='make a full backup'):
        _back_up(postgresql, 'b', parent[1])
    again = _back_up(postgresql, 'c')
    _back_up(postgresql, 'd', again[1])
    engine.reset_overrides(None)
    engine.apply_overrides()


def test_what_is_not_whole_is_refused_and_removed(
    postgresql: cluster.Cluster, new_cluster: NewCluster
) -> None:
    full = _back_up(postgresql, 'full')
    postgresql.query('CREATE TABLE public.t AS SELECT 1')
    first = _back_up(postgresql, 'first', full[1])
    postgresql.query('DROP TABLE public.t')
    second = _back_up(postgresql, 'second', first[1])
    (postgresql.folder / 'cut').write_bytes(full[0].read_bytes()[: 1 << 20])
    nothing = postgresql.folder / 'nothing'
    nothing.write_bytes(b'\0' * 10240)
    empty = (nothing, {**first[1]})
    server = new_cluster()
    data = server.engine.place.data
    for parts, words in (
        ([first], 'no full backup'),
        ([full, second], 'does not follow'),
        ([full, full], 'does not follow'),
        ([(nothing, full[1])], 'not whole: no PG_VERSION'),
        ([full, empty], 'not whole: no WAL'),
        ([(full[0], {**full[1], 'major': '9'})], 'is of PostgreSQL 9'),
    ):
        with pytest.raises(errors.GuestError, match=words):
            _restore(server, *parts)
        assert list(data.iterdir()) == []
        assert not server.engine.initialised()


def test_a_restore_that_was_cut_short_is_removed(
    postgresql: cluster.Cluster, new_cluster: NewCluster
) -> None:
    full = _back_up(postgresql, 'full')
    server = new_cluster()
    server.engine.configure(memory=64)
    restore = server.engine.restore(server.folder)
    with open(full[0], 'rb') as file:
        assert _popen(restore.part(full[1]), stdin=file.fileno()).wait(100) == 0
    # The agent is killed here; another one starts.
    engine = server.make_engine()
    assert not engine.initialised()
    assert 'unfinished data was removed' in engine.recover('backup_restore')
    assert list(engine.place.data.iterdir()) == []
    # The one that was killed is in this process, and ends as if it were not.
    with pytest.raises(FileNotFoundError):
        restore.close()
    assert 'as the server has it' in postgresql.engine.recover('backup_restore')
    assert postgresql.engine.initialised()


def test_a_snapshot_of_the_volume_is_whole(
    postgresql: cluster.Cluster, new_cluster: NewCluster
) -> None:
    postgresql.query('CREATE TABLE public.rows AS SELECT 1 AS number')
    release = postgresql.engine.lock_writes()
    copy = new_cluster()
    volume = copy.folder / 'volume'
    # As the storage does it: the file system stands still.
    assert postgresql.process is not None
    os.kill(postgresql.process.pid, signal.SIGSTOP)  # it starts no others
    everyone = postgresql.pids()
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    processes.wait_for(lambda: {*map(cluster.state, everyone)} == {'T'}, 'all stand')
    subprocess.run(
        ['cp', '--archive', postgresql.folder / 'volume', copy.folder], check=True
    )
    for pid in everyone:
        os.kill(pid, signal.SIGCONT)
    release()
    postgresql.query('DROP TABLE public.rows')
    with pytest.raises(errors.GuestError, match='closed'):
        release()

    (volume / 'data' / 'postmaster.pid').unlink()
    copy.engine.configure('fsync = off\n', 64)
    copy.start()
    assert _count(copy) == 1
