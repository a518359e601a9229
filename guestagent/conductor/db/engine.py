# SPDX-License-Identifier: Apache-2.0
"""Open the database, and bring its tables to this version.

The tables are made by the migrations in ``versions``, one file for each step, and by
nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import alembic.command
import alembic.config
import alembic.util
import sqlalchemy as sa
import sqlalchemy.exc
from alembic.runtime import migration

from guestagent import errors
from guestagent.conductor.db import upsert

LOG = logging.getLogger(__name__)

#: How long a statement waits for another's lock, in seconds.
LOCK_TIMEOUT = 10

#: How long a server may take to let us in, or a lost one to be noticed, in seconds.
CONNECT_TIMEOUT = 10
_SILENCE = 30

_DIALECTS = ('sqlite', 'postgresql', *upsert.MARIADB)
#: What a driver is told so that a server that is gone without a word is noticed.
_CONNECT_ARGUMENTS = {
    'psycopg': {
        'connect_timeout': CONNECT_TIMEOUT,
        'keepalives_idle': _SILENCE,
        # Only then it is seen whether the time of the next line has passed.
        'keepalives_interval': CONNECT_TIMEOUT,
        'tcp_user_timeout': _SILENCE * 1000,
    },
    'pymysql': {
        'connect_timeout': CONNECT_TIMEOUT,
        'read_timeout': _SILENCE,
        'write_timeout': _SILENCE,
    },
}
#: Errors by which a server ends a transaction that stood in another's way:
#: SQLSTATEs of PostgreSQL, numbers of MariaDB.
_COLLISIONS = frozenset(('40001', '40P01', 1213))
#: PostgreSQL's: a lock was not given in :data:`LOCK_TIMEOUT`.
_LOCKED = '55P03'
#: Any number and name, as long as only migrations use them.
_LOCK_NUMBER, _LOCK_NAME = 7320519846, 'guestagent-migration'


class DatabaseError(Exception):
    """The database cannot be used; says why in one line, without the password."""


class Database:
    """A database that is open.

    :ivar reader: the engine for queries.
    :ivar writer: the engine for changes: where the database has one writer at a time
        (SQLite), its transactions wait for each other from their first statement on.
    """

    def __init__(self, url: str) -> None:
        """Open it; the first connection is made when it is used.

        :raises guestagent.errors.ConfigError: the URL is wrong, or its driver is not
            installed.
        """
        parsed = _parse(url)
        self._name = parsed.render_as_string(hide_password=True)
        options: dict[str, Any] = {'pool_pre_ping': True}
        if parsed.get_backend_name() != 'sqlite':
            # Rows are locked where it matters; a snapshot would hide what others wrote.
            options['isolation_level'] = 'READ COMMITTED'
            options['connect_args'] = {
                name: value
                for name, value in _CONNECT_ARGUMENTS.get(
                    parsed.get_driver_name(), {}
                ).items()
                if name not in parsed.query
            }
        try:
            self.reader = sa.create_engine(parsed, **options)
        except ImportError as error:
            raise errors.ConfigError(
                f'[database] connection {self._name}: its driver is not installed '
                f'({error})'
            ) from None
        self.writer = self.reader.execution_options(guestagent_writer=True)
        if self.reader.dialect.driver == 'psycopg':
            sa.event.listen(self.reader, 'connect', _psycopg_connect)
        if self.reader.dialect.name in upsert.MARIADB:
            sa.event.listen(self.reader, 'connect', _mariadb_connect)
        if self.reader.dialect.name == 'sqlite':
            sa.event.listen(self.reader, 'connect', _sqlite_connect)
            sa.event.listen(self.reader, 'begin', _sqlite_begin)

    def sync(self, revision: str = 'head') -> None:
        """Bring the tables to this version; conductors that start together take turns.

        :param revision: another version to stop at.
        :raises DatabaseError: it cannot be reached, or belongs to a later version.
        """
        try:
            with self.writer.begin() as connection, _alone(connection):
                before = _revision(connection)
                config = alembic.config.Config()
                config.set_main_option('script_location', 'guestagent.conductor:db')
                config.attributes['connection'] = connection
                alembic.command.upgrade(config, revision)
                after = _revision(connection)
        except alembic.util.CommandError as error:
            raise DatabaseError(
                f'{self._name} belongs to a later version of guestagent, upgrade this '
                f'one: {error}'
            ) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise DatabaseError(
                f'cannot use {self._name}, see [database] connection: {explain(error)}'
            ) from None
        if before != after:
            LOG.info(
                '%s: tables brought from version %s to %s',
                self._name,
                before or 'none',
                after,
            )

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.reader.dispose()


def explain(error: BaseException) -> str:
    """Return what went wrong in one line, without statement and parameters."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    return ' '.join(str(error).split()) or type(error).__name__


def is_collision(error: sqlalchemy.exc.SQLAlchemyError) -> bool:
    """Whether the transaction only stood in another's way and may be tried again."""
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return False
    codes = (
        getattr(error.orig, 'sqlstate', None),
        *getattr(error.orig, 'args', ())[:1],
    )
    return not _COLLISIONS.isdisjoint(codes)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        dialect = parsed.get_dialect().name
    except (sqlalchemy.exc.ArgumentError, ImportError, ValueError) as error:
        # Nothing of the text itself: it may hold a password.
        raise errors.ConfigError(
            f'[database] connection: no URL of a database as SQLAlchemy writes it '
            f'({type(error).__name__})'
        ) from None
    if dialect not in _DIALECTS:
        raise errors.ConfigError(
            f'[database] connection: {dialect!r} is not supported,'
            f' only {", ".join(_DIALECTS)}'
        )
    if dialect == 'sqlite' and parsed.database in (None, '', ':memory:'):
        raise errors.ConfigError(
            '[database] connection: a database in memory would be gone with the '
            'conductor; write sqlite:////path/of/a/file'
        )
    return parsed


def _psycopg_connect(connection: Any, record: object) -> None:
    from psycopg.types import array

    # Whole columns are sent as arrays: as text that costs three times as much.
    connection.adapters.register_dumper(list, array.ListBinaryDumper)
    # Not as an option of the connection: a pooler in between would refuse it.
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'")
    connection.commit()


def _mariadb_connect(connection: Any, record: object) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f'SET innodb_lock_wait_timeout = {LOCK_TIMEOUT}')


def _sqlite_connect(connection: sqlite3.Connection, record: object) -> None:
    # Transactions begin when we say so, below.
    connection.isolation_level = None
    connection.execute(f'PRAGMA busy_timeout={LOCK_TIMEOUT * 1000}').close()
    connection.execute('PRAGMA synchronous=FULL').close()
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute('PRAGMA journal_mode=WAL').close()
            return
        except sqlite3.OperationalError as error:
            # The first change to WAL does not wait for locks by itself.
            if (
                error.sqlite_errorcode != sqlite3.SQLITE_BUSY
                or time.monotonic() > deadline
            ):
                raise
            time.sleep(0.02)


def _sqlite_begin(connection: sa.Connection) -> None:
    # A reader that becomes a writer fails if there was another writer meanwhile.
    writer = connection.get_execution_options().get('guestagent_writer')
    connection.exec_driver_sql('BEGIN IMMEDIATE' if writer else 'BEGIN')


@contextlib.contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """Keep other migrations out; on SQLite a writer is alone anyway.

    :raises DatabaseError: another one does not end.
    """
    if not _lock(connection):
        raise DatabaseError(
            'another conductor has been changing the tables for '
            f'{LOCK_TIMEOUT} s: try again later'
        )
    try:
        yield
    finally:
        if connection.dialect.name in upsert.MARIADB:
            # It outlives the transaction, and connections are used again.
            # The version is no DDL: the next one must see it.
            connection.exec_driver_sql('COMMIT')
            connection.execute(sa.select(sa.func.release_lock(_LOCK_NAME)))


def _lock(connection: sa.Connection) -> bool:
    """Take the lock of migrations; return whether it was given in time."""
    if connection.dialect.name in upsert.MARIADB:
        wanted = sa.func.get_lock(_LOCK_NAME, LOCK_TIMEOUT)
        return bool(connection.scalar(sa.select(wanted)))
    if connection.dialect.name == 'postgresql':
        try:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        except sqlalchemy.exc.DBAPIError as error:
            if getattr(error.orig, 'sqlstate', None) != _LOCKED:
                raise
            return False
    return True


def _revision(connection: sa.Connection) -> str | None:
    return migration.MigrationContext.configure(connection).get_current_revision()
