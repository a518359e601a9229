# SPDX-License-Identifier: Apache-2.0
"""guestctl file, with the extension itself behind a stock server."""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest
from guestagent_file import extension as file_extension

from guestagent import extension, testing
from guestagent.ctl import file


class FileStandIn:
    """Answers ``file.*`` as the agent does."""

    target = oslo_messaging.Target(namespace='file', version='1.0')

    def __init__(self, made: file_extension.File) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._made, name)

        def call(ctxt: dict[str, Any], **arguments: Any) -> Any:
            return method(extension.Context('tester'), **arguments)

        return call


@pytest.fixture
def guest(serve: Any, tmp_path: Any) -> Iterator[None]:
    """The guest vm-1, whose files are those below ``tmp_path``."""
    options = {'allowed_paths': [str(tmp_path)], 'list_max': 2}
    with testing.started(file_extension.File, options=options) as made:
        serve('guestagent.vm-1', FileStandIn(made))
        yield


@pytest.fixture
def run(guest: None, ctl: Any) -> Any:
    """``run(verb, ...)``: what ``guestctl file`` prints; it must succeed."""

    def call(verb: str, *arguments: object) -> str:
        done = ctl('file', verb, 'vm-1', *map(str, arguments))
        assert done.code == 0, done.err
        return str(done.out.decode())

    return call


def test_list(run: Any, tmp_path: Any) -> None:
    (tmp_path / 'b').write_text('text')
    (tmp_path / 'a').mkdir()
    (tmp_path / 'link').symlink_to('a')
    (tmp_path / os.fsdecode(b'\xff\x1b[31m')).write_text('')

    found = json.loads(run('list', tmp_path, '-f', 'json'))
    assert [each['name'] for each in found] == ['a', 'b', 'link', '\udcff\x1b[31m']
    assert found[1]['size'] == 4
    people = run('list', tmp_path)
    assert 'link -> a' in people
    assert '\\udcff\\x1b[31m' in people


def test_stat_chmod_and_rename(run: Any, tmp_path: Any) -> None:
    (tmp_path / 'f').write_text('text')
    os.utime(tmp_path / 'f', ns=(0, 10**18))
    run('chmod', tmp_path / 'f', '0600')
    run('rename', tmp_path / 'f', tmp_path / 'g')
    found = json.loads(run('stat', tmp_path / 'g', '-f', 'json'))
    assert (found['permissions'], found['modified']) == (0o600, 10**18)
    people = run('stat', tmp_path / 'g')
    assert '0600' in people
    assert '2001-09-09T01:46:40Z' in people


def test_checksum(run: Any, tmp_path: Any) -> None:
    (tmp_path / 'f').write_text('text')
    for algorithm in ('sha256', 'md5'):
        digest = hashlib.new(algorithm, b'text').hexdigest()
        printed = run('checksum', tmp_path / 'f', '--algorithm', algorithm)
        assert printed == f'{digest}  {tmp_path}/f\n'


def test_mkdir_and_remove(run: Any, ctl: Any, tmp_path: Any) -> None:
    run('mkdir', tmp_path / 'a' / 'b', '--parents')
    failed = ctl('file', 'remove', 'vm-1', f'{tmp_path}/a')
    assert (failed.code, failed.err.split(': ')[-1]) == (1, 'Directory not empty\n')
    run('remove', tmp_path / 'a', '--recursive')
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_owners(run: Any, tmp_path: Any) -> None:
    (tmp_path / 'f').write_text('')
    run('chown', tmp_path / 'f', '--user', '3', '--group', 'daemon')
    run('push', tmp_path / 'f', tmp_path / 'g', '--user', 'daemon')
    found = [(tmp_path / name).stat() for name in 'fg']
    assert [(one.st_uid, one.st_gid) for one in found] == [(3, 1), (1, 0)]


def test_push_and_pull(run: Any, ctl: Any, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / 'f').write_bytes(bytes(1000))
    (tmp_path / 'folder').mkdir()
    monkeypatch.chdir(tmp_path / 'folder')
    assert run('push', '../f', tmp_path / 'g').startswith('one file, 1000 bytes in ')
    run('pull', tmp_path / 'g')
    assert (tmp_path / 'folder' / 'g').read_bytes() == bytes(1000)

    os.mkfifo('pipe')
    skipped = ctl('file', 'push', 'vm-1', '.', f'{tmp_path}/there')
    assert (skipped.code, skipped.out[:19]) == (1, b'one file, 1000 byte')
    assert 'not carried: ./pipe' in skipped.err


@pytest.mark.parametrize(
    ('arguments', 'code', 'words'),
    [
        (['pull', 'vm-1', '/etc/passwd'], 5, 'allowed_paths: Permission denied'),
        (['push', 'vm-1', '/none', '/x'], 1, 'here: /none: No such file or directory'),
        (['pull', 'vm-1', '{0}/none'], 1, "none': No such file or directory"),
        (['pull', 'vm-1', 'relative'], 1, "'relative' is not a full path"),
        (['chmod', 'vm-1', '/x', '888'], 2, "'888' is not as 644"),
        (['chown', 'vm-1', '/x'], 2, 'give --user, --group or both'),
    ],
)
def test_errors(
    guest: None, ctl: Any, tmp_path: Any, arguments: list[str], code: int, words: str
) -> None:
    verb, *rest = (each.format(tmp_path) for each in arguments)
    failed = ctl('file', verb, *rest)
    assert failed.code == code
    assert words in failed.err
    assert failed.err.count('\n') == 1


class Sign:
    """Keeps what it is to show."""

    def say(self, text: str) -> None:
        self.text = text


@pytest.mark.parametrize(
    ('size', 'words'),
    [
        (1000, '[##########----------]  50 % pull: x: 500 bytes'),
        (0, 'pull: x: 500 bytes'),
    ],
)
def test_a_person_sees_how_far_it_is(size: int, words: str) -> None:
    sign: Any = Sign()
    moved = file._Moved('pull: x', sign, size)
    moved.add(700)
    moved.add(-200)
    assert sign.text.startswith(f'guestctl: {words} in 0.')
    moved.add(10**6)
    assert moved.describe(2).endswith('1000500 bytes in 2.0 s (0.5 MB/s)')
