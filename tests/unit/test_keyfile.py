# SPDX-License-Identifier: Apache-2.0
"""Keys from files and from commands, and what is said when they are not good."""

import os
import sys

import pytest

from guestagent import errors, keyfile
from guestagent.seal import keys

LINE = keys.Line(keys.COMMANDS, 'nova', False, os.urandom(32))


@pytest.fixture
def path(tmp_path):
    made = tmp_path / 'keys'
    made.write_text(f'# of nova\n{LINE}\n')
    made.chmod(0o600)
    return made


def test_a_file_is_read(path):
    assert keyfile.read(str(path), '') == [LINE]


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_reach_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(errors.ConfigError, match=r'chmod 600'):
        keyfile.read(str(path), '')


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_a_file_of_somebody_else_is_refused(path):
    os.chown(path, 12345, 12345)
    with pytest.raises(errors.ConfigError, match='belongs to user 12345'):
        keyfile.read(str(path), '')


def test_what_is_no_file_is_refused(path, tmp_path):
    os.mkfifo(tmp_path / 'pipe', 0o600)
    for wrong, reason in (
        (tmp_path / 'nope', 'No such file'),
        (tmp_path / 'pipe', 'it is no file'),
        (tmp_path, 'directory|no file'),
    ):
        with pytest.raises(errors.ConfigError, match=reason):
            keyfile.read(str(wrong), '')
    path.write_bytes(b'\xff')
    with pytest.raises(errors.ConfigError, match='not text'):
        keyfile.read(str(path), '')


def test_a_command_prints_keys(path):
    assert keyfile.read('', f'cat {path}') == [LINE]


@pytest.mark.parametrize(
    ('command', 'reason'),
    [
        ('/nonexistent/kms', 'No such file'),
        ("cat 'unended", 'makes no sense'),
        (f"{sys.executable} -c 'raise SystemExit(3)'", 'failed with 3'),
        (f'{sys.executable} -c \'print("gam1-SECRET")\'', 'its output, line 1'),
    ],
)
def test_a_command_that_fails_is_told_without_what_it_printed(command, reason):
    with pytest.raises(errors.ConfigError, match=reason) as caught:
        keyfile.read('', command)
    assert 'SECRET' not in str(caught.value)


def test_a_command_has_its_time(monkeypatch):
    monkeypatch.setattr(keyfile, 'COMMAND_SECONDS', 0.2)
    with pytest.raises(errors.ConfigError, match=r'did not end within 0.2'):
        keyfile.read('', 'sleep 60')


def test_there_is_one_source(path):
    with pytest.raises(errors.ConfigError, match='set one of them'):
        keyfile.read(str(path), 'cat x')
