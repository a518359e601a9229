# SPDX-License-Identifier: Apache-2.0
"""The database: URLs that are wrong, and tables of any version."""

import concurrent.futures

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.runtime import migration

from guestagent import errors
from guestagent.conductor.db import engine, tables


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
