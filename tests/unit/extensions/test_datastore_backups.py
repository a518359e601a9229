# SPDX-License-Identifier: Apache-2.0
"""Backups as streams, from a program that stands in for an engine's to a folder."""

import hashlib
import os
import pathlib
import subprocess
from typing import Any

import pytest
from guestagent_datastore import models
from guestagent_datastore.backups import targets

from guestagent import errors
from tests.unit.extensions import datastore_standin as standin
from tests.unit.extensions.datastore_guest import Guest

#: What cannot be compressed, many chunks of each kind.
BIG = 5_000_000


@pytest.fixture
def guest(tmp_path: pathlib.Path) -> Guest:
    return Guest(tmp_path)


@pytest.fixture
def key_file(tmp_path: pathlib.Path) -> str:
    path = tmp_path / 'keys'
    path.write_text(os.urandom(32).hex())
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize('compression', ['zstd', 'gzip', 'none'])
@pytest.mark.parametrize('sealed', [False, True])
def test_what_is_restored_is_what_was_backed_up(
    tmp_path: pathlib.Path, key_file: str, compression: str, sealed: bool
) -> None:
    guest = Guest(
        tmp_path,
        backup_compression=compression,
        backup_key_file=key_file if sealed else '',
    )
    guest.engine.writes = f'openssl rand {BIG} | tee {tmp_path}/in'
    guest.engine.reads = f'cat > {tmp_path}/out'
    made = guest.back_up('b1')
    assert made['type'] == 'full'
    assert made['stream_size'] == BIG
    assert made['metadata'] == {'lsn': '17', 'engine': 'standin'}
    guest.restore(made)
    assert (tmp_path / 'in').read_bytes() == (tmp_path / 'out').read_bytes()
    assert guest.engine.finished
    stored = pathlib.Path(made['location'].removeprefix('file://'))
    assert made['checksum'] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert stored.name.endswith('.sealed') == sealed
    assert made['size'] == stored.stat().st_size
    if compression == 'zstd' and not sealed:
        plain = subprocess.run(['zstd', '-dc', stored], capture_output=True, check=True)
        assert plain.stdout == (tmp_path / 'in').read_bytes()


def test_a_chain_is_restored_in_order(guest: Guest) -> None:
    full = guest.back_up('full')
    first = guest.back_up('first', full)
    second = guest.back_up('second', {**first, 'checksum': ''})
    assert guest.engine.given == [None, full['metadata'], first['metadata']]
    assert second['type'] == 'incremental'
    assert second['parent'] == first['location']
    guest.restore(second)
    assert [part.get('parent_location') for part in guest.engine.parts] == [
        None,
        full['location'],
        first['location'],
    ]
    assert guest.engine.done == 3


def test_a_chain_with_another_parent_is_refused(guest: Guest) -> None:
    full = guest.back_up('full')
    second = guest.back_up('second', full)
    guest.manager.delete(full['location'], guest.target(), guest.context)
    full = guest.back_up('full')
    guest.engine.writes = 'echo other'
    guest.manager.delete(full['location'], guest.target(), guest.context)
    guest.back_up('full')
    with pytest.raises(errors.StorageError, match='another object'):
        guest.restore(second)
    assert guest.engine.parts == []


def test_a_backup_of_another_engine_is_refused(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = guest.back_up('b1')
    monkeypatch.setattr(standin.StandIn, 'name', 'another')
    for use in (lambda: guest.restore(made), lambda: guest.back_up('b2', made)):
        with pytest.raises(errors.InvalidArgument, match='of standin, not of another'):
            use()


def test_a_key_of_the_caller_seals(guest: Guest) -> None:
    key = os.urandom(32).hex()
    guest.engine.writes = 'echo plain-words'
    made = guest.back_up('b1', key=key)
    stored = pathlib.Path(made['location'].removeprefix('file://'))
    assert b'plain-words' not in stored.read_bytes()
    guest.restore(made, key)
    with pytest.raises(errors.StorageError, match='not in the file of keys'):
        guest.restore(made, os.urandom(32).hex())
    with pytest.raises(errors.InvalidArgument, match='64 hexadecimal digits'):
        guest.restore(made, 'short')


def test_the_key_stands_in_no_command_line_and_no_environment(guest: Guest) -> None:
    key = os.urandom(32).hex()
    guest.engine.writes = (
        f'cat /proc/$PPID/cmdline /proc/$PPID/environ > {guest.folder}/seen'
    )
    guest.back_up('b1', key=key)
    seen = (guest.folder / 'seen').read_bytes()
    assert b'guestagent_datastore.backups.worker' in seen
    assert key.encode() not in seen


def test_the_memory_does_not_grow_with_the_backup(tmp_path: pathlib.Path) -> None:
    guest = Guest(tmp_path, backup_compression='none')
    guest.engine.writes = (
        f'head -c 200M /dev/zero; grep VmHWM /proc/$PPID/status > {tmp_path}/hwm'
    )
    made = guest.back_up('b1', key=os.urandom(32).hex())
    assert made['size'] > 200 * 1024**2
    kib = int((tmp_path / 'hwm').read_text().split()[1])
    assert kib < 64 * 1024


@pytest.mark.parametrize(
    ('writes', 'says'),
    [
        ('echo data; echo the reason >&2; exit 3', r'exit code 3\): the reason'),
        (f'openssl rand {BIG}; kill -9 $$', 'signal 9'),
        ('exit 1', 'exit code 1'),
    ],
)
@pytest.mark.parametrize('compression', ['zstd', 'none'])
def test_a_program_that_fails_leaves_nothing(
    tmp_path: pathlib.Path, writes: str, says: str, compression: str
) -> None:
    guest = Guest(tmp_path, backup_compression=compression)
    guest.engine.writes = writes
    with pytest.raises(errors.GuestError, match=says):
        guest.back_up('b1')
    assert guest.left() == []
    assert guest.engine.closed == 1


def test_a_backup_that_the_engine_refuses_leaves_nothing(guest: Guest) -> None:
    guest.engine.refuses = 'it is not whole'
    with pytest.raises(errors.GuestError, match='it is not whole'):
        guest.back_up('b1')
    assert guest.left() == []


def test_a_program_that_is_not_there_is_named(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = models.Command(('no-such-program',))
    monkeypatch.setattr(standin.Backup, 'command', missing, raising=False)
    monkeypatch.setattr(standin.Backup, '__init__', lambda self, engine: None)
    monkeypatch.setattr(standin.Backup, 'close', lambda self: None)
    with pytest.raises(errors.GuestError, match='no-such-program is not installed'):
        guest.back_up('b1')
    assert guest.left() == []


@pytest.mark.parametrize('compression', ['zstd', 'none'])
@pytest.mark.parametrize('how', ['cut', 'changed', 'exchanged'])
def test_a_damaged_backup_is_refused(
    tmp_path: pathlib.Path, compression: str, how: str
) -> None:
    guest = Guest(tmp_path, backup_compression=compression)
    guest.engine.writes = f'openssl rand {BIG}'
    # It says so in the file if it sees the end of its input.
    guest.engine.reads = f'cat >/dev/null; echo whole > {tmp_path}/end'
    made = guest.back_up('b1')
    path = pathlib.Path(made['location'].removeprefix('file://'))
    data = bytearray(path.read_bytes())
    if how == 'cut':
        del data[-1000:]
    elif how == 'changed':
        data[-1000] ^= 1
    else:
        data[1000:2000], data[3000:4000] = data[3000:4000], data[1000:2000]
    path.write_bytes(data)
    with pytest.raises(errors.StorageError, match='damaged'):
        guest.restore(made)
    assert not (tmp_path / 'end').exists()
    assert not guest.engine.finished


def test_a_full_disk_is_told(guest: Guest) -> None:
    guest.engine.writes = f'openssl rand {BIG}'
    made = guest.back_up('b1')
    guest.engine.reads = 'exec dd of=/dev/full bs=1M'
    with pytest.raises(errors.DiskFull, match='No space left on device'):
        guest.restore(made)
    assert not guest.engine.finished


def test_progress_is_told(guest: Guest) -> None:
    guest.engine.writes = f'openssl rand {BIG}; sleep 0.3; openssl rand 1000'
    guest.engine.estimate = 2 * BIG
    made = guest.back_up('b1')
    percent, text = guest.context.progress
    assert percent is not None
    assert 0 <= percent <= 51
    assert 'MiB written' in text
    guest.restore(made)
    assert guest.context.progress == (None, 'making the data ready')


@pytest.mark.parametrize('backup_id', ['', '../x', 'a/b', 'a.b', 'x' * 200])
def test_bad_ids_are_refused(guest: Guest, backup_id: str) -> None:
    with pytest.raises(errors.InvalidArgument, match='backup_id'):
        guest.back_up(backup_id)


def test_an_id_is_used_once(guest: Guest) -> None:
    made = guest.back_up('b1')
    with pytest.raises(errors.StorageError, match='there already'):
        guest.back_up('b1')
    guest.restore(made)


@pytest.mark.parametrize(
    ('storage', 'given', 'says'),
    [
        ('file', {'url': '/etc'}, 'backup_folder'),
        ('file', {'container': '../x'}, 'container'),
        ('file', {'colour': 'red'}, 'url, token and container'),
        ('swift', {'url': 7}, 'each a text'),
        ('swift', {}, 'nothing says where the storage swift is'),
    ],
)
def test_bad_targets_are_refused(
    guest: Guest, storage: str, given: Any, says: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=says):
        targets.make(guest.conf, storage, given, 'backups')
