# SPDX-License-Identifier: Apache-2.0
"""Passwords: what chpasswd is told, who hears of it, and that it works."""

import ctypes
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from guestagent_accounts import extension

from guestagent import errors, testing
from guestagent.agent import registry

PASSWORD = 'hunter2: not "said" anywhere'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='only root sets passwords')


@pytest.fixture
def chpasswd(tmp_path):
    """Puts a chpasswd on the path that writes down how it was called."""

    def make(ending='exit 0'):
        program = tmp_path / 'chpasswd'
        program.write_text(
            '#!/bin/sh\nPATH=/bin\n'
            f'cat >{tmp_path}/input\n'
            f'tr "\\0" "\\n" </proc/$$/cmdline >{tmp_path}/argv\n'
            f'env >{tmp_path}/env\n{ending}\n'
        )
        program.chmod(0o755)

    make()
    return make


@pytest.fixture
def change(tmp_path):
    def change(**arguments):
        return testing.call(
            extension.Accounts,
            'set_password',
            options={'path': str(tmp_path)},
            **{'user': 'daemon', 'password': PASSWORD, **arguments},
        )

    return change


@pytest.mark.parametrize('crypted', [False, True])
def test_the_password_is_told_by_its_input_only(
    change, chpasswd, tmp_path, crypted, caplog
):
    caplog.set_level(logging.DEBUG)
    password = '$6$hunter2' if crypted else PASSWORD

    assert change(password=password, crypted=crypted) is None

    assert (tmp_path / 'input').read_text() == f'daemon:{password}\n'
    argv = (tmp_path / 'argv').read_text().splitlines()
    assert argv[2:] == (['-e'] if crypted else [])
    assert 'hunter2' not in (tmp_path / 'env').read_text() + caplog.text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'password': 'hunter2\nroot:x'}, 'password: it must not contain a line break'),
        ({'password': 'hunter2\0'}, 'password: it must not contain NUL'),
        ({'password': 'hunter2\ud800'}, 'password: it is not valid Unicode'),
        ({'password': '$6$hunter2:1:2', 'crypted': True}, 'what is crypted has no col'),
        ({'password': ''}, 'password: it is empty'),
        ({'password': '', 'crypted': True}, 'password: it is empty'),
        ({'user': 'daemon:x'}, "user: there is no user 'daemon:x'"),
        ({'user': 'daemon\nroot'}, 'user: there is no user'),
        ({'user': 'nobody-here'}, "user: there is no user 'nobody-here'"),
    ],
)
def test_what_is_refused_is_told_to_nobody(
    change, chpasswd, tmp_path, arguments, message
):
    with pytest.raises(errors.InvalidArgument, match=message) as caught:
        change(**arguments)
    assert 'hunter2' not in str(caught.value)
    assert not (tmp_path / 'input').exists()


def test_the_last_word_of_chpasswd_is_told_without_the_password(change, chpasswd):
    chpasswd(f"echo first >&2; echo 'line 1: {PASSWORD} is bad' >&2; exit 1")
    with pytest.raises(errors.GuestError, match=r'^chpasswd failed: line 1: \.\.\. is'):
        change()
    chpasswd('exit 3')
    with pytest.raises(errors.GuestError, match=r'^chpasswd failed: exit code 3$'):
        change()


def test_what_is_no_program(change, tmp_path):
    with pytest.raises(errors.GuestError, match=r'there is no chpasswd in .* path\)$'):
        change()
    (tmp_path / 'chpasswd').write_text('')
    (tmp_path / 'chpasswd').chmod(0o755)
    with pytest.raises(
        errors.GuestError, match=r'^chpasswd cannot be run: Exec format'
    ):
        change()


def test_who_is_not_root_sets_no_password(change, chpasswd, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    with pytest.raises(errors.GuestError, match='does not run as root'):
        change()
    assert not (tmp_path / 'input').exists()


def test_it_appears_nowhere_in_the_agent():
    with testing.started(extension.Accounts) as made:
        commands = registry.Loaded('accounts', made).commands
    assert commands['set_password'].info.sensitive == {'password'}


#: Run where /etc is a copy: sets passwords, and prints what is in shadow then.
REAL = """
import json, sys
from guestagent import errors, testing
from guestagent_accounts import extension
changes = json.load(sys.stdin)
for user, password, crypted in changes:
    testing.call(extension.Accounts, 'set_password',
                 user=user, password=password, crypted=crypted)
lines = open('/etc/shadow').read().splitlines()
print(json.dumps(dict(line.split(':')[:2] for line in lines)))
"""


@pytest.mark.skipif(
    subprocess.run(['unshare', '--mount', 'true'], capture_output=True).returncode != 0,
    reason='needs a mount namespace',
)
def test_the_real_chpasswd_in_an_etc_of_its_own(tmp_path):
    etc = tmp_path / 'etc'
    etc.mkdir()
    for name in ('passwd', 'shadow', 'group', 'gshadow', 'nsswitch.conf', 'login.defs'):
        if pathlib.Path('/etc', name).exists():
            shutil.copy(f'/etc/{name}', etc)
    for name in ('pam.d', 'security'):
        shutil.copytree(f'/etc/{name}', etc / name, symlinks=True)
    own = [pathlib.Path(path) for path in ('/etc/passwd', '/etc/shadow')]
    before = [path.read_bytes() for path in own]
    hashed = '$6$saltsalt$hunter2notreallythedigest'
    changes = [('daemon', PASSWORD, False), ('bin', hashed, True)]

    done = subprocess.run(
        [
            *('unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc && exec "$@"'),
            *(str(etc), sys.executable, '-c', REAL),
        ],
        input=json.dumps(changes),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    shadow = json.loads(done.stdout)
    assert shadow['bin'] == hashed
    library = ctypes.CDLL('libcrypt.so.1')
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(PASSWORD.encode(), shadow['daemon'].encode())
    assert made.decode() == shadow['daemon']
    # This machine's own are as they were.
    assert [path.read_bytes() for path in own] == before
