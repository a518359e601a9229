# SPDX-License-Identifier: Apache-2.0
"""The database: URLs that are wrong, and tables of any version."""

import concurrent.futures
import threading
from typing import Any

import pytest
import sqlalchemy as sa
import sqlalchemy.exc
from alembic import autogenerate, config, script
from alembic.runtime import migration

from guestagent import errors
from guestagent.conductor.db import engine, queries, store, tables

#: What a database holds when it is brought to the next revision, for each revision
#: that was released: rows for each table.
HELD: dict[str, dict[str, list[dict[str, Any]]]] = {
    '0001': {
        'instances': [
            {
                'id': 'old',
                'state': 'UP',
                'first_seen': 1.0,
                'last_seen': 2.0,
                'generations': 2,
                'heartbeat_generation': 2,
                'heartbeat_sequence': 7,
                'boot_id': 'boot',
                'facts_generation': 2,
                'facts_sequence': 3,
            },
            {
                'id': 'quiet',
                'state': 'NEW',
                'first_seen': 1.0,
                'last_seen': 2.0,
                'generations': 1,
                'heartbeat_generation': 0,
                'heartbeat_sequence': 0,
                'facts_generation': 0,
                'facts_sequence': 0,
            },
        ],
        'generations': [
            {'instance': 'old', 'generation': 'zero', 'number': 1, 'met': 1.0},
            {'instance': 'old', 'generation': 'one', 'number': 2, 'met': 1.0},
            {'instance': 'quiet', 'generation': 'one', 'number': 1, 'met': 1.0},
        ],
        'facts': [
            {
                'instance': 'old',
                'name': 'x.a',
                'generation': 2,
                'sequence': 4,
                'value': '"kept"',
                'updated': 1.0,
            }
        ],
        'events': [
            {
                'instance': 'old',
                'generation': 2,
                'sequence': 1,
                'type': 'test.x',
                'at': 1.0,
                'received': 1.0,
                'data': '{}',
            }
        ],
    },
    '0002': {},
    '0003': {},
}


def _revisions() -> list[str]:
    settings = config.Config()
    settings.set_main_option('script_location', 'guestagent.conductor:db')
    scripts = script.ScriptDirectory.from_config(settings).walk_revisions()
    return [each.revision for each in scripts][::-1]


def _fill(database: engine.Database, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write rows into tables as they are now, whatever the code knows of them."""
    metadata = sa.MetaData()
    with database.writer.begin() as connection:
        metadata.reflect(connection)
        for name, values in rows.items():
            for row in values:
                connection.execute(sa.insert(metadata.tables[name]), row)


def test_each_revision_has_something_to_hold():
    assert list(HELD) == _revisions()


@pytest.mark.parametrize('first', _revisions())
def test_what_a_database_holds_survives_each_step(database_url, make, first):
    database = engine.Database(database_url)
    revisions = _revisions()
    for revision in revisions[revisions.index(first) :]:
        database.sync(revision)
        _fill(database, HELD[revision] if revision == first else {})
    database.sync()

    if HELD[first]:
        # The same agent goes on: it is the same generation, and nothing is missing.
        records = store.Store(database)
        records.apply(
            [
                make('heartbeat', 'old', sequence=8),
                make('facts', 'old', sequence=5, facts={'x.b': 1}),
                make('event', 'old', sequence=1),
            ],
            100.0,
        )
        assert queries.instance(database, 'old')['generation'] == 2
        assert queries.facts(database, 'old', '')['x.a']['value'] == 'kept'
        assert len(queries.events(database, 'old', None, 10)) == 1
        with database.reader.begin() as connection:
            [gap] = connection.scalars(
                sa.select(tables.instances.c.facts_gap).where(
                    tables.instances.c.id == 'old'
                )
            )
        assert gap is None
    database.close()


def test_what_stood_in_the_way_of_another_is_told_from_other_errors(database):
    names = ('a', 'b')
    _fill(database, {'pace': [{'name': name, 'until': 0.0} for name in names]})
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


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    with database.reader.connect() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={'compare_type': True}
        )
        assert autogenerate.compare_metadata(context, tables.metadata) == []


@pytest.mark.parametrize('turn', range(5))
def test_conductors_that_start_together_make_the_tables_once(tmp_path, turn):
    url = f'sqlite:///{tmp_path / "together.sqlite"}'

    def start(_: int) -> None:
        database = engine.Database(url)
        database.sync()
        database.close()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [None] * 4


def test_tables_of_a_later_version_are_left_alone(database):
    with database.writer.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(engine.DatabaseError, match='later version'):
        database.sync()


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
