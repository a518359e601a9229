# SPDX-License-Identifier: Apache-2.0
"""A user's authorized_keys: what is written, and what a hostile user cannot do."""

import contextlib
import itertools
import os
import pathlib
import pwd
import shutil
import stat
import tempfile
import threading
import time

import pytest
from guestagent_accounts import authorized, extension, identity

from guestagent import errors, testing
from tests.unit.extensions.test_accounts_keylines import key

ROOT = os.geteuid() == 0
ROOT_ONLY = pytest.mark.skipif(not ROOT, reason='only root can act as others')
FIRST, SECOND = key(comment='first'), key(value=b'y' * 32, comment='second')


@pytest.fixture
def folder():
    """A folder that other users can get into, other than pytest's own."""
    made = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-accounts-'))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def home(folder, monkeypatch):
    """The home of the user ``alice``, who is another user than root."""
    own = pwd.getpwnam('daemon') if ROOT else pwd.getpwuid(os.geteuid())
    made = folder / 'alice'
    made.mkdir()
    os.chown(made, own.pw_uid, own.pw_gid)
    account = pwd.struct_passwd(
        ('alice', 'x', own.pw_uid, own.pw_gid, '', str(made), '/bin/sh')
    )
    known = {'alice': account}
    monkeypatch.setattr(pwd, 'getpwnam', lambda name: known[name])
    return made


@pytest.fixture
def call(home, tmp_path):
    def call(method, *keys, **arguments):
        if method != 'list_keys':
            arguments['keys'] = list(keys)
        options = {'path': str(tmp_path)}
        return testing.call(
            extension.Accounts, method, options=options, user='alice', **arguments
        )

    return call


@pytest.fixture
def file(home):
    """Where the keys are; ``write`` makes it as the user would."""
    return home / '.ssh/authorized_keys'


def give(path, data):
    """Write a file of the user's, in a folder of the user's."""
    owner = path.parent.parent.stat()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    for each in (path, path.parent):
        os.chown(each, owner.st_uid, owner.st_gid)


def test_the_first_key_makes_folder_and_file(call, home, file):
    assert call('list_keys') == {'keys': [], 'path': str(file), 'exists': False}

    umask = os.umask(0)
    try:
        assert call('add_keys', FIRST, '', FIRST) == {'added': 1}
    finally:
        os.umask(umask)

    assert file.read_text() == f'{FIRST}\n'
    assert call('list_keys') == {'keys': [FIRST], 'path': str(file), 'exists': True}
    owner = home.stat()
    for path, mode in ((file.parent, 0o700), (file, 0o600)):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert (found.st_uid, found.st_gid) == (owner.st_uid, owner.st_gid)
    assert os.listdir(file.parent) == ['authorized_keys']


def test_what_stood_there_stays(call, file):
    before = f'# mine\n\nno-pty,from="a b" {FIRST}\r\nrubbish \xff'.encode('latin-1')
    give(file, before)
    file.chmod(0o666)
    file.parent.chmod(0o777)

    assert call('add_keys', SECOND) == {'added': 1}

    assert file.read_bytes() == before + f'\n{SECOND}\n'.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert call('list_keys')['keys'] == [
        f'no-pty,from="a b" {FIRST}',
        'rubbish ?',
        SECOND,
    ]

    assert call('remove_keys', key(comment='otherwise')) == {'removed': 1}
    assert file.read_bytes() == f'# mine\n\nrubbish \xff\n{SECOND}\n'.encode('latin-1')


def test_nothing_to_do_writes_nothing(call, file):
    give(file, f'{FIRST}'.encode())
    before = file.stat()

    assert call('add_keys', key(comment='again')) == {'added': 0}
    assert call('remove_keys', SECOND, '') == {'removed': 0}

    assert file.stat() == before


def test_keys_are_replaced(call, file):
    give(file, f'# mine\n{FIRST}\n'.encode())
    assert call('add_keys', SECOND, replace=True) == {'added': 1}
    assert file.read_text() == f'{SECOND}\n'
    # As when a client sends an empty file.
    assert call('add_keys', '', replace=True) == {'added': 0}
    assert file.read_bytes() == b''


def test_without_a_file_nothing_is_removed(call, home):
    assert call('remove_keys', FIRST) == {'removed': 0}
    assert os.listdir(home) == []


def test_a_bad_key_changes_nothing(call, home):
    with pytest.raises(errors.InvalidArgument, match='is not a public key'):
        call('add_keys', FIRST, 'ssh-rsa AAAA')
    with pytest.raises(errors.InvalidArgument, match='not one line'):
        call('remove_keys', f'{FIRST}\n{SECOND}')
    assert os.listdir(home) == []


@pytest.mark.parametrize('user', ['bob', 'a:b', 'a\nb', 'a\0b', '', 'a' * 5000])
def test_a_user_that_is_not_there(user):
    for method, arguments in (
        ('list_keys', {}),
        ('add_keys', {'keys': []}),
        ('remove_keys', {'keys': []}),
        ('set_password', {'password': 'hunter2'}),
    ):
        with pytest.raises(errors.InvalidArgument, match=r'^user: there is no user'):
            testing.call(extension.Accounts, method, user=user, **arguments)


def test_a_home_that_is_not_there(call, home):
    home.rename(f'{home}.away')
    with pytest.raises(errors.GuestError, match=r'/alice: No such file or directory$'):
        call('add_keys', FIRST)


#: What stands in a file that is not the user's.
FOREIGN = b'root:secret:hash\n'


@pytest.fixture
def shadow(folder):
    """A file that only root may read, and which is not to change."""
    path = folder / 'shadow'
    path.write_bytes(FOREIGN)
    path.chmod(0o600)
    before = path.stat()
    yield path
    assert path.read_bytes() == FOREIGN
    after = path.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


def link_file(file, shadow):
    give(file, b'')
    file.unlink()
    file.symlink_to(shadow)


def link_folder(file, shadow):
    inside = shadow.parent / 'inside'
    inside.mkdir()
    (inside / 'authorized_keys').write_bytes(FOREIGN)
    file.parent.symlink_to(inside)


def pipe(file, shadow):
    give(file, b'')
    file.unlink()
    os.mkfifo(file)


def folder_in_place(file, shadow):
    give(file, b'')
    file.unlink()
    file.mkdir()


def file_in_place_of_folder(file, shadow):
    file.parent.write_bytes(b'')


def large(file, shadow):
    give(file, b'#' * (authorized.SIZE_MAX + 1))


@pytest.mark.parametrize(
    ('attack', 'message'),
    [
        (link_file, r'authorized_keys \(symbolic links are not followed\): .'),
        (link_folder, r'\.ssh \(symbolic links are not followed\): .'),
        (file_in_place_of_folder, r'\.ssh .*: Not a directory'),
        (pipe, 'is not a regular file'),
        (folder_in_place, 'is not a regular file'),
        (large, 'is larger than 1048576 bytes'),
    ],
)
def test_what_is_no_file_of_the_users_is_refused(call, file, shadow, attack, message):
    attack(file, shadow)
    for method, keys in (
        ('list_keys', []),
        ('add_keys', [FIRST]),
        ('remove_keys', [FIRST]),
    ):
        with pytest.raises(errors.GuestError, match=message) as caught:
            call(method, *keys)
        assert 'secret' not in str(caught.value)


@ROOT_ONLY
def test_a_hard_link_to_a_file_of_roots_is_not_read(call, file, shadow):
    give(file, b'')
    file.unlink()
    os.link(shadow, file)
    for method, keys in (('list_keys', []), ('add_keys', [FIRST])):
        with pytest.raises(errors.GuestError, match=r': Permission denied$'):
            call(method, *keys)
    # To replace all does not read it, and puts a file of the user's in its place.
    assert call('add_keys', FIRST, replace=True) == {'added': 1}
    assert file.read_text() == f'{FIRST}\n'


@ROOT_ONLY
def test_files_of_a_third_user_are_refused(call, file):
    other = pwd.getpwuid(65534)
    give(file, f'{FIRST}\n'.encode())
    file.chmod(0o644)
    os.chown(file, other.pw_uid, other.pw_gid)
    with pytest.raises(errors.GuestError, match="to neither 'alice' nor root"):
        call('list_keys')
    file.parent.chmod(0o777)
    os.chown(file.parent, other.pw_uid, other.pw_gid)
    with pytest.raises(errors.GuestError, match=r"\.ssh belongs to neither 'alice'"):
        call('add_keys', FIRST)
    assert file.read_text() == f'{FIRST}\n'


@ROOT_ONLY
def test_the_kernel_refuses_what_the_user_may_not(call, home):
    home.chmod(0o500)
    with pytest.raises(errors.GuestError, match=r'\.ssh: Permission denied$'):
        call('add_keys', FIRST)
    assert os.listdir(home) == []


@ROOT_ONLY
def test_a_thread_is_root_again_however_it_ends(home):
    account = pwd.getpwnam('alice')

    def ids():
        text = pathlib.Path(f'/proc/self/task/{threading.get_native_id()}/status')
        return [
            line.split()[4]
            for line in text.read_text().splitlines()
            if line.startswith(('Uid:', 'Gid:'))
        ]

    def fail():
        with identity.assumed(account.pw_uid, account.pw_gid, 'alice'):
            seen.append(ids())
            raise ZeroDivisionError

    seen = []
    with pytest.raises(ZeroDivisionError):
        fail()
    own = [str(os.geteuid()), str(os.getegid())]
    assert ids() == own
    assert seen == [[str(account.pw_uid), str(account.pw_gid)]]
    with authorized.opened(account):
        pass
    assert ids() == own


def test_who_is_not_root_changes_no_others_files(home, monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: pwd.getpwnam('alice').pw_uid + 1)
    with pytest.raises(errors.GuestError, match='does not run as root and cannot'):
        testing.call(extension.Accounts, 'add_keys', user='alice', keys=[FIRST])


@ROOT_ONLY
def test_links_that_come_and_go_lead_nowhere(call, file, shadow):
    """A user who swaps folder and file for links all the time gains nothing."""
    give(file, f'{FIRST}\n'.encode())
    inside = shadow.parent / 'inside'
    inside.mkdir(mode=0o700)
    (inside / 'authorized_keys').write_bytes(FOREIGN)
    away = file.parent.with_name('away')
    done = threading.Event()

    def swap():
        steps = (
            lambda: file.parent.rename(away),
            lambda: file.parent.symlink_to(inside),
            lambda: file.parent.unlink(),
            lambda: away.rename(file.parent),
            lambda: (file.parent / 'link').symlink_to(shadow),
            lambda: (file.parent / 'link').rename(file),
            lambda: file.unlink(),
        )
        while not done.is_set():
            for step in steps:
                # The agent is in the way of some.
                with contextlib.suppress(OSError):
                    step()

    attacker = threading.Thread(target=swap)
    attacker.start()
    outcomes = set()
    try:
        deadline = time.monotonic() + 60
        for rounds in itertools.count():
            if rounds >= 150 and {'done', 'refused'} == outcomes:
                break
            assert time.monotonic() < deadline
            for method, keys in (('add_keys', [FIRST, SECOND]), ('list_keys', [])):
                try:
                    call(method, *keys)
                    outcomes.add('done')
                except errors.GuestError:
                    outcomes.add('refused')
    finally:
        done.set()
        attacker.join()
    assert os.listdir(inside) == ['authorized_keys']
    assert (inside / 'authorized_keys').read_bytes() == FOREIGN


def test_a_full_disk_leaves_the_file_as_it_was(call, file, monkeypatch):
    give(file, f'{FIRST}\n'.encode())

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(errors.GuestError, match=r': No space left on device$'):
        call('add_keys', SECOND)
    assert file.read_text() == f'{FIRST}\n'
    assert os.listdir(file.parent) == ['authorized_keys']


@pytest.mark.parametrize('code', [0, 1])
def test_selinux_labels_what_is_new(call, file, tmp_path, monkeypatch, code, caplog):
    monkeypatch.setattr(extension, 'SELINUX', str(tmp_path / 'enforce'))
    call('add_keys', FIRST)  # without SELinux nothing is run
    (tmp_path / 'enforce').touch()
    call('add_keys', FIRST)  # without a program neither
    program = tmp_path / 'restorecon'
    program.write_text(
        f'#!/bin/sh\nPATH=/bin\necho "$@" >{tmp_path}/told\n'
        f'echo no label >&2\nexit {code}\n'
    )
    program.chmod(0o755)
    assert call('remove_keys', FIRST) == {'removed': 1}
    assert (tmp_path / 'told').read_text() == f'-- {file.parent} {file}\n'
    assert ('no label' in caplog.text) == bool(code)
