# SPDX-License-Identifier: Apache-2.0
"""A connection to the server over its unix socket, opened when it is first needed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors
from guestagent_datastore.services import peer

if TYPE_CHECKING:
    import pymysql

#: What the session starts with, whatever an operator has set for all.
_SESSION = (
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER', "
    'SESSION lock_wait_timeout = 30, SESSION wait_timeout = 86400'
)

#: The server's numbers of errors that the caller has made: something is there already
#: or is not there, a word is none, a value does not fit.
_CALLERS = frozenset(
    (1007, 1008, 1049, 1059, 1115, 1141, 1193, 1231, 1232, 1253, 1273, 1396, 1470)
)

Row = tuple[Any, ...]


def administrator() -> str:
    """Return the account that the agent uses: its own name in the system.

    The server knows by the socket who connects: there is no password.
    """
    return pwd.getpwuid(os.geteuid()).pw_name


class NotListening(errors.GuestError):
    """Nobody listens on the server's socket."""

    wire_module = 'guestagent.errors'


class Client:
    """One connection for many short statements; several threads may share it.

    :param seconds: how long the server may take for one statement.
    :param keep: whether the connection stays for the next statements.
    """

    def __init__(
        self, socket: pathlib.Path, seconds: float = 30, keep: bool = True
    ) -> None:
        self._socket = socket
        self._seconds = seconds
        self._keep = keep
        self._lock = threading.Lock()
        self._connection: pymysql.Connection[Any] | None = None

    def query(self, statement: str, *values: Any) -> list[Row]:
        """Run a statement, with values in the place of each ``%s``; return its rows.

        :raises guestagent.errors.GuestError: the server refuses, or does not answer.
        """
        with self._lock, self._explained():
            return self._query(statement, values)

    def named(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement as it is; return its rows by the names of their columns.

        :raises guestagent.errors.GuestError: the server refuses, or does not answer.
        """
        from pymysql import cursors

        with self._lock, self._explained():
            rows: Any = self._query(statement, (), cursors.DictCursor)
        return list(rows)

    def run(self, statements: Sequence[str]) -> None:
        """Run statements as they are, one after the other, until one fails.

        :raises guestagent.errors.InvalidArgument: one names what is not there, or what
            is there already.
        :raises guestagent.errors.GuestError: the server refuses, or does not answer.
        """
        with self._lock, self._explained():
            for statement in statements:
                self._query(statement, ())
            if not self._keep:
                self._drop()

    def server_pid(self) -> int:
        """Return the server's process; 0: it does not answer.

        A connection that says nothing would be one more warning in the server's log.
        """
        with self._lock:
            try:
                with self._explained():
                    self._query('SELECT 1', ())
            except errors.GuestAgentError:
                return 0
            assert self._connection is not None
            # The library has no other way to it.
            return peer.other_end(self._connection._sock)

    def close(self) -> None:
        """Let go of the connection; the next statement opens another."""
        with self._lock:
            self._drop()

    def _query(
        self, statement: str, values: Sequence[Any], cursor: Any = None
    ) -> list[Row]:
        import pymysql
        from pymysql.constants import CR

        fresh = self._connection is None
        try:
            return self._execute(statement, values, cursor)
        except pymysql.err.OperationalError as error:
            # It was started again since, and has seen nothing of the statement.
            if fresh or error.args[0] != CR.CR_SERVER_GONE_ERROR:
                raise
        self._drop()
        return self._execute(statement, values, cursor)

    def _execute(self, statement: str, values: Sequence[Any], kind: Any) -> list[Row]:
        import pymysql

        if self._connection is None:
            self._connection = pymysql.connect(
                unix_socket=str(self._socket),
                user=administrator(),
                charset='utf8mb4',
                autocommit=True,
                init_command=_SESSION,
                connect_timeout=int(min(self._seconds, 10)),
                read_timeout=self._seconds,
                write_timeout=self._seconds,
                # Or TLS would be spoken where nobody else can listen.
                ssl_disabled=True,
            )
        with self._connection.cursor(kind) as cursor:
            cursor.execute(statement, tuple(values) or None)
            return list(cursor.fetchall())

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, *_errors()):
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in the server's words what has failed, and drop the connection."""
        try:
            yield
        except _errors() as error:
            self._drop()
            cause = getattr(error, 'original_exception', None)
            if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
                raise NotListening('MariaDB does not run') from None
            wrong = error.args and error.args[0] in _CALLERS
            kind = errors.InvalidArgument if wrong else errors.GuestError
            raise kind(f'MariaDB: {_text(error)}') from None
        except OSError as error:
            self._drop()
            raise errors.GuestError(
                f'MariaDB does not answer: {error.strerror or error}'
            ) from None


def _errors() -> tuple[type[Exception], ...]:
    import pymysql

    return (pymysql.err.MySQLError,)


def _text(error: Exception) -> str:
    """Return a server's error in its own words."""
    number, *words = error.args or ('',)
    return f'{" ".join(map(str, words))} ({number})' if words else str(number)
