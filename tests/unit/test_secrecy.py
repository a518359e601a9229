# SPDX-License-Identifier: Apache-2.0
"""The search for secrets finds them, and nothing else."""

import base64
import os
import pathlib
import sqlite3
import tempfile

import pytest

from guestagent.seal import keys
from tests import secrecy


@pytest.fixture
def tmp_path():
    """A folder of its own: what is hidden there is not for the search at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def line(tmp_path):
    made = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
    (tmp_path / 'nova.keys').write_text(f'# mine\n{made}\n')
    return made


@pytest.mark.parametrize(
    'write',
    [
        lambda line: str(line).split()[2],
        lambda line: line.secret.hex(),
        lambda line: base64.b64encode(line.secret).decode(),
        lambda line: base64.b64encode(b'before' + line.secret + b'after').decode(),
        lambda line: base64.b64encode(b'x' + line.secret + b'x').decode(),
        lambda line: repr(line.secret),
        lambda line: secrecy.MARKS[0],
        lambda line: base64.b64encode(b'a ' + secrecy.MARKS[0].encode()).decode(),
    ],
)
def test_a_secret_is_found_in_a_log(tmp_path, line, write):
    (tmp_path / 'agent-vm-1.log').write_text(f'INFO see {write(line)} here\n')
    assert secrecy.search(tmp_path)
    assert write(line) not in '\n'.join(secrecy.search(tmp_path))


def test_it_is_found_in_what_programs_keep(tmp_path, line):
    state = tmp_path / 'agent-vm-1.state'
    state.mkdir()
    (state / 'journal').write_bytes(b'\xffrec' + line.secret)
    with sqlite3.connect(tmp_path / 'conductor.sqlite') as database:
        database.execute('CREATE TABLE event (data TEXT)')
        database.execute('INSERT INTO event VALUES (?)', (f'{line}',))
    database.close()
    found = {text.split(':')[0].rpartition('/')[2] for text in secrecy.search(tmp_path)}
    assert found == {'journal', 'conductor.sqlite'}


def test_keys_may_be_where_keys_are(tmp_path, line):
    state = tmp_path / 'agent-vm-1.state'
    state.mkdir()
    (state / 'keys').write_text(f'{line.derive("vm-1")}\n')
    (tmp_path / 'agent-vm-1.log').write_text('nothing of that kind\n')
    assert secrecy.search(tmp_path) == []
