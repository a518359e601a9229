# SPDX-License-Identifier: Apache-2.0
"""The database: URLs that are wrong, and who stands in whose way."""

import concurrent.futures
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from guestagent import errors
from guestagent.conductor.db import engine, queries, store, tables


def test_what_stood_in_the_way_of_another_is_told_from_other_errors(database):
    names = ('a', 'b')
    with database.writer.begin() as connection:
        for name in names:
            connection.execute(sa.insert(tables.pace), {'name': name, 'until': 0.0})
    if database.reader.dialect.name == 'sqlite':
        pytest.skip('SQLite has one writer at a time, which waits')
    ready = threading.Barrier(2)

    def lock(order: tuple[str, ...]) -> bool:
        try:
            with database.writer.begin() as connection:
                for name in order:
                    connection.execute(
                        sa.update(tables.pace)
                        .where(tables.pace.c.name == name)
                        .values(until=1.0)
                    )
                    if name == order[0]:
                        ready.wait(30)
        except sqlalchemy.exc.DBAPIError as error:
            return engine.is_collision(error)
        return False

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        collided = list(pool.map(lock, [names, names[::-1]]))
    assert sorted(collided) == [False, True]
    with (
        database.reader.begin() as connection,
        pytest.raises(sqlalchemy.exc.DBAPIError) as caught,
    ):
        connection.execute(sa.text('SELECT nonsense'))
    assert not engine.is_collision(caught.value)


@pytest.fixture
def impatient(database_url, monkeypatch) -> Iterator[engine.Database]:
    """A database whose locks are waited for for a second."""
    monkeypatch.setattr(engine, 'LOCK_TIMEOUT', 1)
    opened = engine.Database(database_url)
    opened.sync()
    yield opened
    opened.close()


def test_a_row_that_somebody_keeps_locked_is_not_waited_for_for_ever(impatient, make):
    records = store.Store(impatient)
    records.apply([make('heartbeat')], 1.0)
    with impatient.writer.begin() as connection:
        connection.execute(sa.update(tables.instances).values(state='NEW'))

        with pytest.raises(sqlalchemy.exc.OperationalError, match=r'(?i)lock'):
            records.apply([make('heartbeat', sequence=2)], 2.0)

    records.apply([make('heartbeat', sequence=2)], 2.0)
    assert queries.instance(impatient, 'i')['state'] == 'UP'


def test_a_migration_that_does_not_end_is_told(impatient):
    other = engine.Database(impatient.reader.url.render_as_string(False))
    with (
        impatient.writer.begin() as connection,
        engine._alone(connection),
        pytest.raises(engine.DatabaseError, match=r'another conductor|locked'),
    ):
        other.sync()
    other.sync()
    other.close()


@pytest.mark.parametrize('turn', range(3))
def test_conductors_that_start_together_make_the_tables_once(database_url, turn):
    def start(_: int) -> None:
        database = engine.Database(database_url)
        database.sync()
        database.close()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [None] * 4


@pytest.mark.parametrize(
    'url',
    [
        'nonsense',
        '',
        'sqlite://',
        'sqlite:///:memory:',
        'mssql://user:secret@host/name',
        'nosuch://user:secret@host/name',
        'postgresql+nosuch://user:secret@host/name',
        'postgresql+psycopg://user:secret@host:port/name',
    ],
)
def test_a_wrong_url_is_told_without_its_password(url):
    with pytest.raises(errors.ConfigError, match=r'\[database\] connection') as caught:
        engine.Database(url)
    assert 'secret' not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    database = engine.Database(f'sqlite:///{tmp_path / "no" / "x.sqlite"}')

    with pytest.raises(engine.DatabaseError, match='unable to open'):
        database.sync()
