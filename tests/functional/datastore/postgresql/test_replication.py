# SPDX-License-Identifier: Apache-2.0
"""Two and three real servers: attach, lag, promote, demote and come back."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from guestagent_datastore import models
from guestagent_datastore.engines.postgresql import kept

from devstack import processes
from guestagent import errors, extension
from tests.functional.datastore.postgresql import cluster

PASSWORD = 'hunter2 of a user'


@pytest.fixture
def pair(
    data: pathlib.Path, other_data: pathlib.Path
) -> Iterator[tuple[cluster.Cluster, cluster.Cluster]]:
    """A source, and a server with other data that is to be its replica."""
    made = cluster.Cluster(), cluster.Cluster()
    try:
        for one, copied in zip(made, (data, other_data), strict=True):
            one.make(copied)
            one.query('CREATE TABLE public.rows (number int)')
        yield made
    finally:
        for one in made:
            one.remove()


def _attach(replica: cluster.Cluster, source: cluster.Cluster) -> None:
    """Have ``replica`` follow ``source``, as the extension does."""
    assert not source.engine.enable_source()
    account = source.engine.replication_account()
    assert (account.host, account.port) == ('', source.port)
    replica.stop()
    context = extension.Context()
    replica.engine.attach(dataclasses.replace(account, host='127.0.0.1'), context)
    _percent, text = context.progress
    assert text == '' or 'MiB fetched' in text
    replica.start()
    _await(replica)


def _await(replica: cluster.Cluster) -> None:
    processes.wait_for(
        lambda: replica.engine.replication().running, 'the replica receives', 60
    )


def _insert(server: cluster.Cluster, number: int) -> str:
    server.query('INSERT INTO public.rows VALUES (%s)', number)
    return server.engine.position()


def _rows(server: cluster.Cluster) -> list[int]:
    return [row for (row,) in server.query('SELECT number FROM public.rows ORDER BY 1')]


def test_a_replica_follows_and_takes_over(
    pair: tuple[cluster.Cluster, cluster.Cluster],
) -> None:
    first, second = pair
    _insert(second, 99)
    first.engine.create_users([models.User('far', '10.0.0.0/8', PASSWORD)])
    assert first.engine.replication().role == 'single'

    _attach(second, first)

    # It has the source's data, follows, and takes no writes.
    second.engine.wait_for(_insert(first, 1), 60)
    assert _rows(second) == [1]
    shown = second.engine.replication()
    assert (shown.role, shown.source) == ('replica', f'127.0.0.1:{first.port}')
    assert shown.read_only
    assert shown.error == ''
    assert shown.lag is not None
    assert shown.lag < 60
    with pytest.raises(errors.GuestError, match='read-only transaction'):
        _insert(second, 2)
    # The one that fetched the data may not have been seen to leave yet.
    processes.wait_for(
        lambda: first.engine.replication().replicas == 1, 'one replica is known'
    )
    shown = first.engine.replication()
    assert (shown.role, shown.read_only) == ('source', False)
    processes.wait_for(
        lambda: first.engine.last_transaction() == second.engine.last_transaction(),
        'all that the source has written',
    )
    with pytest.raises(psycopg2.Error, match='rejects connection'):
        second.ask('far', PASSWORD, 'SELECT 1')

    # Its source goes away: it says so, and lags behind by nobody knows how much.
    first.stop()
    processes.wait_for(lambda: second.engine.replication().error, 'an error', 60)
    shown = second.engine.replication()
    assert (shown.running, shown.lag) == (False, None)
    assert 'connection' in shown.error
    assert 'hunter2' not in shown.error
    first.start()
    processes.wait_for(lambda: second.engine.replication().running, 'reception', 60)

    # They change places, with nothing lost.
    first.engine.set_read_only(True)
    position = first.engine.position()
    second.engine.wait_for(position, 60)
    info = second.engine.detach(True)
    assert second.engine.replication().role == 'single'
    _insert(second, 2)
    first.engine.forget_replica(info)
    first.engine.demote()
    assert first.query('SELECT slot_name FROM pg_replication_slots') == []
    _attach(first, second)
    first.engine.wait_for(_insert(second, 3), 60)
    assert _rows(first) == [1, 2, 3]
    assert 'wound back' not in (first.folder / 'log' / 'output.log').read_text()
    second.engine.create_users([models.User('far', '10.0.0.0/8', PASSWORD)])


def test_an_old_source_that_went_on_comes_back(
    pair: tuple[cluster.Cluster, cluster.Cluster],
) -> None:
    first, second = pair
    _attach(second, first)
    second.engine.wait_for(_insert(first, 1), 60)
    second.engine.detach(True)
    # Nobody told the old source: it has what no other server has.
    _insert(first, 7)
    _insert(second, 2)
    number = first.query("SELECT oid FROM pg_class WHERE relname = 'rows'")
    _attach(first, second)
    first.engine.wait_for(_insert(second, 3), 60)
    assert _rows(first) == [1, 2, 3]
    assert first.query("SELECT oid FROM pg_class WHERE relname = 'rows'") == number
    # It was the source: what it kept for the replica does not hold its WAL for ever.
    assert first.query('SELECT slot_name FROM pg_replication_slots') == []


def test_a_source_that_requires_tls(
    pair: tuple[cluster.Cluster, cluster.Cluster], tmp_path: pathlib.Path
) -> None:
    first, second = pair
    own = cluster.self_signed(tmp_path, 'source')
    first.engine.enable_tls(own, True)
    account = first.engine.replication_account()
    assert (account.tls, account.ca) == (True, own.certificate)
    # One that says it is the source, but has another certificate, gets nothing.
    other = cluster.self_signed(tmp_path, 'other').certificate
    second.stop()
    with pytest.raises(errors.GuestError, match='certificate verify failed'):
        second.engine.attach(dataclasses.replace(account, host='127.0.0.1', ca=other))
    second.start()
    assert second.engine.replication().role == 'single'

    _attach(second, first)
    second.engine.wait_for(_insert(first, 1), 60)
    statement = 'SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)'
    processes.wait_for(
        lambda: first.query(statement) == [(True,)], 'all that follows it speaks TLS'
    )
    # It speaks TLS to its source, and as before to its own clients.
    assert second.engine.tls().mode == 'off'
    # Nor does it follow one that has come in its place.
    first.engine.enable_tls(cluster.self_signed(tmp_path, 'third'), True)
    first.stop()
    first.start()
    processes.wait_for(
        lambda: 'certificate verify failed' in second.engine.replication().error,
        'it does not trust it',
        60,
    )


def test_what_cannot_be_wound_back_is_fetched(
    pair: tuple[cluster.Cluster, cluster.Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair
    _attach(second, first)
    second.engine.detach(False)
    _insert(first, 7)
    first.stop()
    # pg_rewind needs the WAL since they parted.
    for path in (first.data / 'pg_wal').glob('0*'):
        path.unlink()
    _insert(second, 1)
    _attach(first, second)
    assert 'cannot be wound back' in caplog.text
    assert 'hunter2' not in caplog.text
    first.engine.wait_for(_insert(second, 2), 60)
    assert _rows(first) == [1, 2]


def test_a_source_that_refuses_changes_nothing(
    pair: tuple[cluster.Cluster, cluster.Cluster],
) -> None:
    first, second = pair
    _insert(second, 9)
    account = first.engine.replication_account()
    with pytest.raises(errors.GuestError, match='must be stopped'):
        second.engine.attach(account)
    second.stop()
    for source, words in (
        (
            models.Source('127.0.0.1', first.port, account.user, 'hunter2 wrong'),
            'password authentication failed',
        ),
        (
            models.Source('127.0.0.1', processes.free_port(), account.user, 'hunter2'),
            'does not run|refused',
        ),
        (
            models.Source('127.0.0.1', first.port, 'nobody', 'hunter2'),
            'authentication failed|no pg_hba.conf entry',
        ),
    ):
        with pytest.raises(errors.GuestError, match=words) as caught:
            second.engine.attach(source)
        assert 'hunter2' not in str(caught.value)
    second.start()
    assert _rows(second) == [9]
    _insert(second, 10)
    assert second.engine.replication().role == 'single'
    assert first.query('SELECT slot_name FROM pg_replication_slots') == []
    assert not (second.folder / 'config' / 'source.pass').exists()
    with pytest.raises(errors.GuestError, match='no replica'):
        second.engine.detach(False)


def test_an_attach_that_is_cancelled(
    pair: tuple[cluster.Cluster, cluster.Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    _insert(second, 9)
    account = dataclasses.replace(first.engine.replication_account(), host='127.0.0.1')
    run = second.engine.run

    def run_slowly(name: str, *words: str, **others: Any) -> str:
        limit = ['--max-rate=1M'] if name == 'pg_basebackup' else []
        return run(name, *words, *limit, **others)

    monkeypatch.setattr(second.engine, 'run', run_slowly)
    context = extension.Context()
    second.stop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        attached = pool.submit(second.engine.attach, account, context)
        processes.wait_for(lambda: context.progress[1], 'it fetches the data', 60)
        context.cancel(errors.Cancelled('enough'))
        with pytest.raises(errors.Cancelled, match='enough'):
            attached.result(60)
    monkeypatch.undo()
    second.start()
    assert (second.engine.replication().role, _rows(second)) == ('single', [9])
    assert not list(second.data.parent.glob('data.*'))
    assert first.query('SELECT slot_name FROM pg_replication_slots') == []


class _Killed(BaseException):
    """The agent ends here, as by SIGKILL."""


@pytest.mark.parametrize('step', ['pg_basebackup', 'rename', 'rmtree'])
def test_an_attach_that_was_cut_short(
    pair: tuple[cluster.Cluster, cluster.Cluster],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    first, second = pair
    _insert(second, 9)
    account = first.engine.replication_account()
    source = models.Source('127.0.0.1', first.port, account.user, account.password)
    second.stop()
    run, rename, rmtree = second.engine.run, pathlib.Path.rename, shutil.rmtree

    def run_and_die(name: str, *words: str, **others: Any) -> str:
        said = run(name, *words, **others)
        if name == step:
            raise _Killed
        return said

    def rename_or_die(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        if path.name == 'data.new' and step == 'rename':
            raise _Killed
        return rename(path, target)

    def rmtree_or_die(path: pathlib.Path) -> None:
        # What runs after a kill is not what the code says on its way out.
        if step in ('rmtree', 'pg_basebackup'):
            raise _Killed
        rmtree(path)

    monkeypatch.setattr(second.engine, 'run', run_and_die)
    monkeypatch.setattr(pathlib.Path, 'rename', rename_or_die)
    monkeypatch.setattr(shutil, 'rmtree', rmtree_or_die)
    monkeypatch.setattr(second.engine, 'keep', _keep_until(second))
    with pytest.raises(_Killed):
        second.engine.attach(source)
    monkeypatch.undo()

    # Another agent starts: the server is what it was or a replica, no half of both.
    second.engine = second.make_engine()
    assert 'cut short' in second.engine.recover('replication_attach')
    assert not list(second.data.parent.glob('data.*'))
    second.start()
    shown = second.engine.replication()
    if step == 'rmtree':
        assert shown.role == 'replica'
        _await(second)
        assert _rows(second) == []
    else:
        assert (shown.role, _rows(second)) == ('single', [9])
        assert second.engine.recall().source == {}
        _insert(second, 10)
        _attach(second, first)
        assert _rows(second) == []


def _keep_until(server: cluster.Cluster) -> Callable[[kept.State], None]:
    """Return ``keep`` of an engine that keeps once, and then is killed."""
    keep, count = server.engine.keep, itertools.count()

    def once(state: kept.State) -> None:
        if next(count) == 0:
            keep(state)

    return once


def test_reading_only(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.create_databases([models.Database('shop')])
    engine.create_users([models.User('ann', '%', PASSWORD, ('shop',))])
    connection = postgresql.connect('ann', PASSWORD, 'shop')
    with connection.cursor() as cursor:
        cursor.execute('CREATE TABLE rows (number int)')
        cursor.execute('BEGIN')
        cursor.execute('INSERT INTO rows VALUES (1)')
        engine.set_read_only(True)
        with pytest.raises(psycopg2.Error):
            cursor.execute('COMMIT')
    connection.close()
    assert engine.replication().read_only
    postgresql.restart()
    with pytest.raises(psycopg2.Error, match='read-only transaction'):
        postgresql.ask('ann', PASSWORD, 'INSERT INTO rows VALUES (2)', 'shop')
    assert postgresql.ask('ann', PASSWORD, 'SELECT * FROM rows', 'shop') == []
    # What the operator asks for is done all the same.
    engine.create_databases([models.Database('more')])
    engine.set_read_only(False)
    postgresql.ask('ann', PASSWORD, 'INSERT INTO rows VALUES (2)', 'shop')
    engine.delete_user('ann', '%')
    for name in ('shop', 'more'):
        engine.delete_database(name)


def test_how_far_a_server_is(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    before = engine.last_transaction()
    position = engine.position()
    postgresql.query('CREATE TABLE public.t AS SELECT 1')
    after = engine.last_transaction()
    postgresql.query('DROP TABLE public.t')
    assert before.source == after.source
    assert before.number < after.number
    engine.wait_for(position, 0)
    with pytest.raises(errors.CommandTimeout, match='not applied after'):
        engine.wait_for('FFFFFFFF/0', 0.1)
    for wrong in ('', '1', 'x/y', '0/123456789', '0-1-2'):
        with pytest.raises(errors.InvalidArgument, match='no place in the WAL'):
            engine.wait_for(wrong, 1)


def test_a_source_needs_wal_for_replicas(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    assert not engine.enable_source()
    engine.configure('fsync = off\nwal_level = minimal\nmax_wal_senders = 0\n', 64)
    postgresql.restart()
    assert engine.enable_source()
    postgresql.restart()
    assert not engine.enable_source()
    assert postgresql.query('SHOW wal_level') == [('replica',)]
    engine.configure('fsync = off\n', 64)
    engine.reset_overrides(None)
    with pytest.raises(errors.InvalidArgument, match='not that of a replica'):
        engine.forget_replica({'slot': 'guestagent_backup'})
    engine.forget_replica({'slot': 'guestagent_r_that_is_gone'})
