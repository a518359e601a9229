# SPDX-License-Identifier: Apache-2.0
"""Sessions with the server over its unix socket, as our own administrator.

The account has no password: the server trusts the operating system's word that it is
the agent's user (``peer``).  psycopg2 is imported with the first session.  A session
that was used is kept for the next one for a while: to log in costs more than most of
what is asked.
"""

from __future__ import annotations

import contextlib
import pathlib
import select
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from guestagent import errors

#: Our own administrator, and the one that every cluster has from the start.
ADMIN, BOOTSTRAP = 'os_admin', 'postgres'
#: Seconds that an unused session is kept.
IDLE_SECONDS = 10.0

Row = tuple[Any, ...]

#: What a session starts with, whatever an operator has set for all: nothing of other
#: schemas is found by name, statements (they may hold a password's verifier) are not
#: logged, and neither a lock nor a missing replica holds the agent for ever.
_OPTIONS = (
    'search_path=',
    'log_statement=none',
    'log_min_error_statement=panic',
    'log_min_duration_statement=-1',
    'log_min_duration_sample=-1',
    'default_transaction_read_only=off',
    'synchronous_commit=local',
    'lock_timeout=20000',
    'statement_timeout=150000',
    'idle_in_transaction_session_timeout=0',
)


class NotListening(errors.GuestError):
    """Nobody listens on the socket."""


class Session:
    """A connection to one database; each statement is a transaction of its own."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def query(
        self, statement: str, values: Sequence[Any] = (), names: Sequence[str] = ()
    ) -> list[Row]:
        """Run a statement and return its rows, if it has any.

        :param statement: with ``%s`` for each value and ``{}`` for each name, which is
            quoted as an identifier.
        :raises guestagent.errors.GuestError: the server refuses; in its words.
        """
        from psycopg2 import extensions

        quoted = [extensions.quote_ident(name, self.connection) for name in names]
        if values:
            quoted = [name.replace('%', '%%') for name in quoted]
        text = statement.format(*quoted)
        with explained(), self.connection.cursor() as cursor:
            cursor.execute(text, tuple(values) or None)
            return list(cursor.fetchall()) if cursor.description else []

    def value(
        self, statement: str, values: Sequence[Any] = (), names: Sequence[str] = ()
    ) -> Any:
        """Return the only value of the only row; ``None``: there is no row."""
        rows = self.query(statement, values, names)
        return rows[0][0] if rows else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all statements within count together, or none."""
        self.query('BEGIN')
        try:
            yield
        except BaseException:
            if not self.connection.closed:
                self.query('ROLLBACK')
            raise
        self.query('COMMIT')

    def verifier(self, password: str, user: str) -> str:
        """Return what the server keeps of a password, so that it never sees it."""
        from psycopg2 import extensions

        with explained():
            made: str = extensions.encrypt_password(
                password, user, scope=self.connection, algorithm='scram-sha-256'
            )
        return made


class Client:
    """Opens sessions.

    :param folder: of the socket.
    :param port: in the socket's name.
    """

    def __init__(self, folder: pathlib.Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._lock = threading.Lock()
        self._idle: tuple[Any, float] | None = None

    @contextlib.contextmanager
    def session(self, database: str = 'postgres') -> Iterator[Session]:
        """Give a session for as long as the block lasts.

        :raises NotListening: no server runs.
        :raises guestagent.errors.GuestError: it does not let us in.
        """
        connection = self._take() if database == 'postgres' else None
        if connection is None:
            connection = self._connect_as(ADMIN, database, _OPTIONS)
        try:
            yield Session(connection)
        except BaseException:
            connection.close()
            raise
        if database == 'postgres':
            self._give(connection)
        else:
            connection.close()

    def open(self) -> Session:
        """Return a session that the caller closes."""
        return Session(self._connect_as(ADMIN, 'postgres', _OPTIONS))

    @contextlib.contextmanager
    def plain(self) -> Iterator[Session]:
        """Give a session in which every parameter is as it is for others."""
        connection = self._connect_as(ADMIN, 'postgres', ())
        try:
            yield Session(connection)
        finally:
            connection.close()

    @contextlib.contextmanager
    def as_bootstrap(self) -> Iterator[Session]:
        """Give a session of the account that every cluster has from the start."""
        connection = self._connect_as(BOOTSTRAP, 'postgres', _OPTIONS)
        try:
            yield Session(connection)
        finally:
            connection.close()

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement in the database ``postgres``; see :meth:`Session.query`."""
        with self.session() as session:
            return session.query(statement, values)

    def value(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return one value; see :meth:`Session.value`."""
        with self.session() as session:
            return session.value(statement, values)

    def expire(self) -> None:
        """Close the session that nobody has used for a while."""
        with self._lock:
            if self._idle and time.monotonic() - self._idle[1] > IDLE_SECONDS:
                self._idle[0].close()
                self._idle = None

    def close(self) -> None:
        """Close the session that is kept; the next one is opened anew."""
        with self._lock:
            if self._idle is not None:
                self._idle[0].close()
                self._idle = None

    def _take(self) -> Any:
        with self._lock:
            kept, self._idle = self._idle, None
        if kept is None:
            return None
        connection = kept[0]
        # A server that has gone, or ended the session, has said so.
        if select.select([connection], [], [], 0)[0]:
            connection.close()
            return None
        return connection

    def _give(self, connection: Any) -> None:
        with self._lock:
            if self._idle is None and not connection.closed:
                self._idle = (connection, time.monotonic())
                return
        connection.close()

    def _connect_as(self, user: str, database: str, options: Sequence[str]) -> Any:
        import psycopg2

        if not (self._folder / f'.s.PGSQL.{self._port}').exists():
            raise NotListening('PostgreSQL does not run')
        with explained():
            connection = psycopg2.connect(
                host=str(self._folder),
                port=self._port,
                user=user,
                dbname=database,
                connect_timeout=10,
                client_encoding='utf8',
                application_name='guestagent',
                options=' '.join(f'-c {option}' for option in options),
            )
            connection.autocommit = True
        return connection


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say in the server's words what has failed, but not in which statement."""
    import psycopg2

    try:
        yield
    except psycopg2.Error as error:
        diagnosis = error.diag
        words = diagnosis.message_primary
        if words is None:
            words = ' '.join(str(error).split()) or type(error).__name__
            if 'Connection refused' in words or 'No such file' in words:
                raise NotListening('PostgreSQL does not run') from None
        elif diagnosis.message_detail and error.pgcode != '23505':
            words = f'{words} ({" ".join(diagnosis.message_detail.split())})'
        raise errors.GuestError(f'PostgreSQL: {words}') from None
