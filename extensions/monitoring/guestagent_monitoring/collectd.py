# SPDX-License-Identifier: Apache-2.0
"""Takes values from collectd, through the unix socket of its plugin unixsock.

``LISTVAL`` is answered with the identifiers of all values, ``host/plugin/type``, where
plugin and type may have an instance behind a ``-``; ``GETVAL`` with the numbers of one,
``name=number``.  Each answer begins with how many lines follow, or with a negative
number and the reason (collectd-unixsock(5)).
"""

from __future__ import annotations

import fnmatch
import math
import re
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

#: What the keys of collectd's values begin with, and how long they may be.
PREFIX = 'collectd.'
KEY_MAX = 200
#: How many values are asked for, and how many numbers they may be.
COUNT_MAX = 100
#: Seconds that all questions may take together, and how much may be answered.
SECONDS = 5.0
SIZE_MAX = 4 * 1024 * 1024
LINES_MAX = 20000
_LINE_MAX = 4096
#: By which share a number must move to be told again.
SHARE = 0.05

_STATUS = re.compile(r'(-?\d{1,9}) (.*)')
_ODD = re.compile(r'[^a-z0-9_.-]')


class RefusedError(ValueError):
    """collectd has no answer to a question."""


class Values:
    """Knows collectd's values, as they were told last.

    :param path: of the socket.
    :param patterns: of the values' identifiers without the host.
    """

    def __init__(self, path: str, patterns: Sequence[str]) -> None:
        self._path = path
        self._patterns = patterns
        self._values: dict[str, float] = {}
        #: What is wrong, by key.
        self.problems: dict[str, str] = {}

    def values(self) -> dict[str, dict[str, Any]]:
        """Return ``{key: {value, type, unit}}``, as told last."""
        return {key: _statistic(value) for key, value in dict(self._values).items()}

    def look(self) -> dict[str, dict[str, Any] | None]:
        """Ask for all values; return what has changed, ``None``: it is gone.

        While collectd does not answer, its values stay.  One thread at a time may call.
        """
        try:
            told, self.problems = ask(self._path, self._patterns)
        except (OSError, ValueError) as error:
            self.problems = {'collectd': f'{self._path}: {str(error)[:200]}'}
            return {}
        changed: dict[str, dict[str, Any] | None] = {
            key: None for key in self._values if key not in told
        }
        for key in changed:
            del self._values[key]
        for key, value in told.items():
            if _has_moved(self._values.get(key), value):
                self._values[key] = value
                changed[key] = _statistic(value)
        return changed


def ask(path: str, patterns: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values that match, and what is wrong, both by key.

    :raises OSError: collectd cannot be asked, or does not answer in time.
    :raises ValueError: what it answers makes no sense.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)
        return read(connection, patterns, socket.gethostname())


def read(
    connection: Any, patterns: Sequence[str], hostname: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Return what collectd tells on a connection: see :func:`ask`."""
    collectd = _Conversation(connection)
    found: dict[str, float] = {}
    problems: dict[str, str] = {}
    too_many = f'there are more than {COUNT_MAX}: let collectd_values name fewer'
    listed = (line.partition(' ')[2] for line in collectd.ask('LISTVAL'))
    wanted = _wanted(listed, patterns, hostname)
    if len(wanted) > COUNT_MAX:
        problems['collectd'] = too_many
    for identifier in wanted[:COUNT_MAX]:
        try:
            lines = collectd.ask(f'GETVAL {_quote(identifier)}')
        except RefusedError:
            continue  # it has gone meanwhile
        for name, value in _numbers(lines):
            key = _key(identifier, name)
            if len(key) > KEY_MAX:
                problems[key[:KEY_MAX]] = f'its key has more than {KEY_MAX} characters'
            elif key in found:
                problems[key] = 'collectd has two values that would have this key'
            elif len(found) == COUNT_MAX:
                problems['collectd'] = too_many
            else:
                found[key] = value
    return found, problems


def _wanted(listed: Iterator[str], patterns: Sequence[str], hostname: str) -> list[str]:
    """Return the identifiers of this host's values that match, sorted.

    :raises ValueError: which host is this one cannot be told.
    """
    hosts: dict[str, list[str]] = {}
    for identifier in listed:
        host, _, rest = identifier.partition('/')
        names = hosts.setdefault(host, [])
        if any(fnmatch.fnmatchcase(rest, pattern) for pattern in patterns):
            names.append(identifier)
    if len(hosts) > 1:
        # One that takes values from others on the network knows them all.
        short = hostname.lower().partition('.')[0]
        own = [host for host in hosts if host.lower().partition('.')[0] == short]
        if len(own) != 1:
            raise ValueError(
                f'it has values of {len(hosts)} hosts: {len(own)} are called {short!r}'
            )
        return sorted(hosts[own[0]])
    return sorted(name for names in hosts.values() for name in names)


def _numbers(lines: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield names and values; one that is not known (NaN) is left out.

    :raises ValueError: a line has none.
    """
    for line in lines:
        name, _, text = line.partition('=')
        value = float(text)
        if math.isfinite(value):
            yield name, value


def _key(identifier: str, name: str) -> str:
    """Return the key of a number: ``collectd.<plugin>.<type>``, and its name if any."""
    parts = identifier.split('/', 2)[1:]
    if name != 'value':
        parts.append(name)
    return PREFIX + '.'.join(_ODD.sub('_', part.lower()) for part in parts)


def _quote(identifier: str) -> str:
    escaped = identifier.replace('\\', '\\\\').replace('"', '\\"')
    return f'"{escaped}"'


def _statistic(value: float) -> dict[str, Any]:
    return {'value': value, 'type': 'number', 'unit': None}


def _has_moved(last: float | None, now: float) -> bool:
    return last is None or abs(now - last) > SHARE * abs(last)


class _Conversation:
    """Questions and answers on one connection, bounded in time and in size."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + SECONDS
        self._left = SIZE_MAX
        self._buffer = bytearray()

    def ask(self, question: str) -> list[str]:
        """Return the lines of an answer.

        :raises OSError: there is none in time.
        :raises ValueError: it makes no sense.
        :raises RefusedError: collectd says that it has none.
        """
        self._limit_time()
        self._connection.sendall(f'{question}\n'.encode(errors='surrogateescape'))
        line = self._line()
        status = _STATUS.fullmatch(line)
        if status is None:
            raise ValueError(f'it answers {line[:80]!r}')
        if status[1].startswith('-'):
            raise RefusedError(status[2][:80])
        if int(status[1]) > LINES_MAX:
            raise ValueError(f'it has more than {LINES_MAX} lines to say')
        return [self._line() for _ in range(int(status[1]))]

    def _line(self) -> str:
        while (end := self._buffer.find(b'\n')) < 0:
            if len(self._buffer) > _LINE_MAX:
                raise ValueError(f'it says a line of more than {_LINE_MAX} bytes')
            self._limit_time()
            data = self._connection.recv(65536)
            if not data:
                raise ConnectionError('it has hung up')
            self._left -= len(data)
            if self._left < 0:
                raise ValueError(f'it says more than {SIZE_MAX} bytes')
            self._buffer += data
        line = self._buffer[:end].decode(errors='surrogateescape')
        del self._buffer[: end + 1]
        return line

    def _limit_time(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f'it has not answered within {SECONDS:g} seconds')
        self._connection.settimeout(left)
