# SPDX-License-Identifier: Apache-2.0
"""What engines, collectd, login records and definitions of statistics say."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct

from guestagent_monitoring import collectd, definitions
from guestagent_monitoring.collectors import containers, users

from tests.fuzz import registry

_CONTAINER = {'Id': 'a', 'Names': ['/b'], 'Command': 'c d', 'State': 'running'}


@registry.target(
    b'HTTP/1.0 200 OK\r\n\r\n' + registry.dump([_CONTAINER, _CONTAINER]),
    b'HTTP/1.0 200 OK\r\nLibpod-Api-Version: 4\r\n\r\n[]',
    b'HTTP/1.0 500 No\r\n\r\n{}',
)
def container_answer(data: bytes) -> None:
    """What an engine tells can be sent, or is refused."""
    with contextlib.suppress(ValueError):
        for found in containers.read(data):
            json.dumps(found)
            assert all(isinstance(name, str) for name in found['names'])
            assert ' ' not in found['program']


class _Said:
    """A connection on which a server says this, whatever it is asked."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.recv = self._file.read

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        assert data.endswith(b'\n')


@registry.target(
    b'2 Values found\n1.5 web/load/load\n1.5 web/df-root/df_complex-free\n'
    b'1 Value found\nvalue=5e+03\n2 Values found\nshort=1\nlong=NaN\n'
)
def collectd_values(data: bytes) -> None:
    """What collectd tells are numbers under keys of ours, or it is refused."""
    with contextlib.suppress(OSError, ValueError):
        values, problems = collectd.read(_Said(data), ['*'], 'web')
        assert len(values) <= collectd.COUNT_MAX
        json.dumps(values, allow_nan=False)
        for key in (*values, *problems):
            assert re.fullmatch(r'[a-z0-9_.-]{1,200}', key)


@registry.target(
    struct.pack('=hxxi32s4s32s256s', 7, 1, b'pts/0', b'ts/0', b'me', b'') * 2
)
def login_records(data: bytes) -> None:
    """Who is logged in can be sent, whatever the file holds."""
    for found in users.read_utmp(data):
        json.dumps(found)
        assert found['login_time'] is not None


@registry.target(
    b'command = echo 1\ntype = integer\nunit = x\n',
    b'file = /x\npattern = ^(\\d+)\nperiod = 5\nstep = 2\n',
)
def statistic(data: bytes) -> None:
    """A definition that is taken has limits, and reads a value or refuses it."""
    lines = data.decode('utf-8', 'replace').split('\n')
    fields = dict(line.split(' = ', 1) for line in lines if ' = ' in line)
    # Whoever may define one may also write a pattern that takes for ever.
    fields.pop('pattern', None)
    with contextlib.suppress(ValueError):
        found = definitions.define('key', fields)
        assert 0 < found.timeout <= definitions.TIMEOUT_MAX
        assert found.period > 0
        assert bool(found.command) != bool(found.file)
        json.dumps(found.read('12'))
