# SPDX-License-Identifier: Apache-2.0
"""guestctl key, and which keys a client gets."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from guestagent import keyfile
from guestagent.seal import keys


@pytest.fixture
def master(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / 'keys'
    path.write_text(f'{keys.Line(keys.COMMANDS, "nova", True, os.urandom(32))}\n')
    path.chmod(0o600)
    return path


def test_keys_are_made_and_derived(
    ctl: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / 'keys'
    for arguments in (['nova'], ['conductor', '--use', 'reports']):
        ended = ctl('key', 'new', *arguments)
        assert ended.code == 0
        with path.open('ab') as file:
            file.write(ended.out)
    path.chmod(0o600)
    lines = keyfile.read(str(path), '')
    assert [(line.use, line.name, line.master) for line in lines] == [
        ('commands', 'nova', True),
        ('reports', 'conductor', True),
    ]

    ended = ctl('key', 'derive', 'vm-1', str(path))
    assert keys.parse(ended.out.decode(), '') == [line.derive('vm-1') for line in lines]
    until = '2099-01-31T12:00:00Z'
    ended = ctl('key', 'derive', 'vm-1', str(path), '--until', until)
    assert ended.out.decode().count(f' until {until}\n') == 2


def test_a_key_that_has_ended_is_not_derived(
    ctl: Callable[..., Any], master: pathlib.Path
) -> None:
    old = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32), until=1.0)
    master.write_text(f'{old}\n{master.read_text()}')
    ended = ctl('--key-file', str(master), 'key', 'derive', 'vm-1')
    assert len(ended.out.splitlines()) == 1


@pytest.mark.parametrize(
    ('arguments', 'code', 'text'),
    [
        (['new', 'a b'], 2, 'a name is 1 to 64'),
        (['derive', 'vm-1'], 2, 'name a FILE with master keys'),
        (['derive', 'vm-1', '/nope'], 2, 'No such file'),
        (['derive', 'vm-1', '--until', 'soon'], 2, 'written in UTC'),
    ],
)
def test_what_is_wrong_is_said(
    ctl: Callable[..., Any], arguments: list[str], code: int, text: str
) -> None:
    ended = ctl('key', *arguments)
    assert (ended.code, text in ended.err) == (code, True), ended.err


def test_keys_of_a_guest_are_no_master_keys(
    ctl: Callable[..., Any], master: pathlib.Path
) -> None:
    made = ctl('key', 'derive', 'vm-1', str(master)).out
    master.write_bytes(made)
    ended = ctl('key', 'derive', 'vm-1', str(master))
    assert 'there must be master keys' in ended.err
