# SPDX-License-Identifier: Apache-2.0
"""Talk to a Redis server in its own protocol (RESP 2) over its unix socket.

Each exchange is a connection of its own: it costs less than a tenth of a millisecond.
"""

from __future__ import annotations

import pathlib
import re
import socket
from collections.abc import Iterator
from typing import IO, Any

from guestagent import errors

#: Our own account.
ADMIN = 'os_admin'
#: The longest line and text of a result in bytes, and how deep lists may be in lists.
_LINE_MAX, _SIZE_MAX, _DEPTH_MAX = 64 * 1024, 64 * 1024 * 1024, 8
_INTEGER = re.compile(r'-?[0-9]{1,19}\Z')


class NotListening(errors.GuestError):
    """Nobody listens on the socket."""


class ServerError(errors.GuestError):
    """What the server answered in place of a result.

    :ivar kind: its first word, as ``LOADING``.
    """

    def __init__(self, words: str) -> None:
        super().__init__(f'Redis: {words}')
        self.kind = words.partition(' ')[0]


class Client:
    """Runs commands, one after another.

    :param path: of the socket.
    :param password: of our account.
    """

    def __init__(
        self, path: pathlib.Path, password: str, seconds: float = 30.0
    ) -> None:
        self._path = path
        self._password = password
        self._seconds = seconds

    def run(self, *words: str) -> Any:
        """Run a command and return its result: text, number, list or ``None``.

        :raises NotListening: no server runs.
        :raises ServerError: the server refuses; without the command's words.
        :raises guestagent.errors.GuestError: it does not answer.
        """
        commands = [('AUTH', ADMIN, self._password), words]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._seconds)
            try:
                connection.connect(str(self._path))
                connection.sendall(b''.join(map(_encode, commands)))
                with connection.makefile('rb') as stream:
                    results = [read_result(stream) for _ in commands]
            except (FileNotFoundError, ConnectionRefusedError):
                raise NotListening('Redis does not run') from None
            except OSError as error:
                raise errors.GuestError(
                    f'Redis does not answer: {error.strerror or error}'
                ) from None
        for result in results:
            if isinstance(result, ServerError):
                raise result
        return results[-1]

    def pairs(self, *words: str) -> dict[str, str]:
        """Run a command whose result is names and values in turn."""
        return dict(_in_pairs(self.run(*words)))

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        text = self.run('INFO', section)
        lines = [line for line in text.splitlines() if not line.startswith('#')]
        return dict(line.partition(':')[::2] for line in lines if ':' in line)


def _in_pairs(items: list[str]) -> Iterator[tuple[str, str]]:
    return zip(items[::2], items[1::2], strict=True)


def _encode(words: tuple[str, ...]) -> bytes:
    parts = [word.encode() for word in words]
    return b'*%d\r\n' % len(parts) + b''.join(
        b'$%d\r\n%s\r\n' % (len(part), part) for part in parts
    )


def read_result(stream: IO[bytes], depth: int = 0) -> Any:
    """Return the next result; an error as a value, for others may follow it.

    :raises ConnectionError: this is no result, or not a whole one.
    """
    line = stream.readline(_LINE_MAX)
    if not line.endswith(b'\r\n') or depth > _DEPTH_MAX:
        raise ConnectionError('the server has closed the connection')
    kind, text = line[:1], line[1:-2].decode(errors='replace')
    if kind == b'-':
        return ServerError(text)
    if kind == b'+':
        return text
    number = _number(text)
    if kind == b':':
        return number
    if kind == b'*':
        if number < 0:
            return None
        return [read_result(stream, depth + 1) for _ in range(number)]
    if kind != b'$' or number > _SIZE_MAX:
        raise ConnectionError('this is not Redis')
    if number < 0:
        return None
    data = stream.read(number + 2)
    if len(data) != number + 2:
        raise ConnectionError('the server has closed the connection')
    return data[:-2].decode(errors='replace')


def _number(text: str) -> int:
    if not _INTEGER.match(text):
        raise ConnectionError('this is not Redis')
    return int(text)
