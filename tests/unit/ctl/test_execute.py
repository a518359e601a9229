# SPDX-License-Identifier: Apache-2.0
"""exec: what is sent, what is printed, and the exit code."""

import io
import sys
from typing import Any

import pytest

from guestagent import errors


@pytest.mark.parametrize(
    ('given', 'sent'),
    [
        (['--', 'ls', '-l', '--debug'], {'argv': ['ls', '-l', '--debug']}),
        (['ls', 'x'], {'argv': ['ls', 'x']}),
        (['ls', '--', '-l'], {'argv': ['ls', '-l']}),
        (['--', 'env', '--', 'x'], {'argv': ['env', '--', 'x']}),
        (['--shell', '--', 'ls | wc', '-l'], {'shell': 'ls | wc -l'}),
        (
            [
                '--user',
                'u',
                '--cwd',
                '/',
                '--env',
                'A=b=c',
                '--env',
                'D=',
                '--output-limit',
                '9',
                '--',
                'x',
            ],
            {
                'argv': ['x'],
                'user': 'u',
                'cwd': '/',
                'env': {'A': 'b=c', 'D': ''},
                'output_limit': 9,
            },
        ),
    ],
)
def test_arguments(
    guest: Any, ctl: Any, given: list[str], sent: dict[str, Any]
) -> None:
    assert ctl('exec', 'vm-1', *given).code == 0
    assert guest.arguments == {'timeout': 60, **sent}


def test_time_limit(guest: Any, ctl: Any) -> None:
    ctl('--timeout', '7', 'exec', 'vm-1', '--', 'x')
    assert guest.arguments['timeout'] == 7

    ctl('--timeout', '7', 'exec', 'vm-1', '--timeout', '0.5', '--', 'x')
    assert guest.arguments['timeout'] == 0.5


@pytest.mark.parametrize(
    ('data', 'sent'),
    [
        ('grün\n'.encode(), {'stdin': 'grün\n', 'stdin_encoding': 'utf-8'}),
        (b'\xff\0', {'stdin': '/wA=', 'stdin_encoding': 'base64'}),
    ],
)
def test_stdin(
    guest: Any,
    ctl: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    sent: dict[str, Any],
) -> None:
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(data)))

    ctl('exec', 'vm-1', '--stdin', '--', 'cat')

    assert sent.items() <= guest.arguments.items()


def test_output_is_binary_safe(guest: Any, ctl: Any) -> None:
    guest.print(b'\xff\0\r\n')
    guest.answer |= {'stderr': 'wörd', 'exit_code': 3}

    ended = ctl('exec', 'vm-1', '--', 'x')

    assert ended == (3, b'\xff\0\r\n', 'wörd')


def test_signal(guest: Any, ctl: Any) -> None:
    guest.answer |= {'exit_code': None, 'signal': 9}

    assert ctl('exec', 'vm-1', '--', 'x').code == 137


def test_cut_output_is_marked(guest: Any, ctl: Any) -> None:
    guest.answer |= {'stdout': 'abc', 'stdout_truncated': True}

    ended = ctl('exec', 'vm-1', '--', 'x')

    assert (ended.code, ended.out) == (0, b'abc')
    assert ended.err.startswith('guestctl: stdout was cut')


def test_time_over(guest: Any, ctl: Any) -> None:
    guest.answer |= {
        'timed_out': True,
        'exit_code': None,
        'signal': 15,
        'stdout': 'part',
    }

    ended = ctl('exec', 'vm-1', '--timeout', '2', '--', 'x')

    assert (ended.code, ended.out) == (124, b'part')
    assert ended.err.startswith('guestctl: killed after 2 s')


def test_what_cannot_run_is_125(guest: Any, ctl: Any) -> None:
    guest.error = errors.InvalidArgument('no such user: u')

    ended = ctl('exec', 'vm-1', '--user', 'u', '--', 'x')

    assert ended == (125, b'', 'guestctl: no such user: u\n')


def test_bad_variable(guest: Any, ctl: Any) -> None:
    ended = ctl('exec', 'vm-1', '--env', 'A', '--', 'x')

    assert ended.code == 2
    assert "'A' is not NAME=VALUE" in ended.err
