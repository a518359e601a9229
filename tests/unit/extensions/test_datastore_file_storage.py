# SPDX-License-Identifier: Apache-2.0
"""The storage ``file``, and what all storages refuse."""

import hashlib
import os
import pathlib

import pytest
from guestagent_datastore.storage import base, catalog, file, registry

from guestagent import errors


@pytest.fixture
def storage(tmp_path: pathlib.Path) -> file.File:
    return file.File(base.Target('file', str(tmp_path), 'backups'))


def fill(storage: base.Storage, name: str, data: bytes) -> base.Stored:
    writer = storage.create(name)
    for at in range(0, len(data), 700_000):
        writer.write(data[at : at + 700_000])
    return writer.finish({'lsn': '17'})


def test_what_was_written_is_read(storage: file.File, tmp_path: pathlib.Path) -> None:
    data = os.urandom(3 * base.CHUNK + 5)
    stored = fill(storage, 'a.tar', data)
    assert stored.checksum == hashlib.sha256(data).hexdigest()
    assert stored.location == (tmp_path / 'backups' / 'a.tar').as_uri()
    assert storage.describe(stored.location, stored.checksum) == stored
    assert b''.join(storage.read(stored)) == data
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in (tmp_path / 'backups').iterdir()
    )


def test_nobody_sees_it_before_its_end(
    storage: file.File, tmp_path: pathlib.Path
) -> None:
    writer = storage.create('a.tar')
    writer.write(b'half')
    with pytest.raises(errors.StorageError):
        storage.describe(f'file://{tmp_path}/backups/a.tar')
    writer.abort()
    assert list((tmp_path / 'backups').iterdir()) == []


def test_what_a_crash_left_is_swept(storage: file.File, tmp_path: pathlib.Path) -> None:
    whole = fill(storage, 'whole.tar', b'x' * 20)
    storage.create('a.tar').write(b'half')
    (tmp_path / 'backups' / 'a.tar.json').write_text('{}')
    assert storage.sweep('a.tar') == 2
    assert storage.sweep('whole.tar') == 0
    assert storage.names('') == ['whole.tar', 'whole.tar.json']
    assert storage.describe(whole.location) == whole


def test_one_that_is_there_stays(storage: file.File) -> None:
    stored = fill(storage, 'a.tar', b'x' * 20)
    with pytest.raises(errors.StorageError, match='there already'):
        storage.create('a.tar')
    assert storage.describe(stored.location) == stored


@pytest.mark.parametrize('change', ['cut', 'longer', 'another byte'])
def test_what_was_changed_is_refused(
    storage: file.File, tmp_path: pathlib.Path, change: str
) -> None:
    stored = fill(storage, 'a.tar', b'x' * 20)
    path = tmp_path / 'backups' / 'a.tar'
    path.write_bytes(
        {'cut': b'x' * 19, 'longer': b'x' * 21, 'another byte': b'y' + b'x' * 19}[
            change
        ]
    )
    with pytest.raises(errors.StorageError, match='damaged'):
        list(storage.read(storage.describe(stored.location)))


def test_another_checksum_is_refused(storage: file.File) -> None:
    stored = fill(storage, 'a.tar', b'x' * 20)
    with pytest.raises(errors.StorageError, match='another object'):
        storage.describe(stored.location, 'ab' * 32)


def test_it_is_deleted(storage: file.File, tmp_path: pathlib.Path) -> None:
    stored = fill(storage, 'a.tar', b'x' * 20)
    storage.delete(stored.location)
    storage.delete(stored.location)
    assert list((tmp_path / 'backups').iterdir()) == []


def test_a_location_cannot_leave_the_folder(
    storage: file.File, tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'secret').write_text('x')
    for location in ('file:///etc/passwd', f'file://{tmp_path}/backups/../secret'):
        with pytest.raises(errors.GuestAgentError):
            storage.describe(location)
    for location in ('http://a/b/c', 'c', 'file:///x', f'file://{tmp_path}/%2e%2e/c'):
        with pytest.raises(errors.InvalidArgument):
            storage.describe(location)


@pytest.mark.parametrize('name', ['', '../a', '/a', 'a//b', 'a/..', 'a\n', 'a' * 999])
def test_bad_names_are_refused(storage: file.File, name: str) -> None:
    with pytest.raises(errors.InvalidArgument, match='name of an object'):
        storage.create(name)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.StorageError, match='no such folder'):
        file.File(base.Target('file', str(tmp_path / 'share'), 'backups'))
    with pytest.raises(errors.InvalidArgument, match='absolute'):
        file.File(base.Target('file', 'share', 'backups'))
    with pytest.raises(errors.InvalidArgument, match='container'):
        file.File(base.Target('file', str(tmp_path), 'a/b'))


def test_small_objects(storage: file.File) -> None:
    assert storage.get('vm/log-1') is None
    storage.put('vm/log-1', b'one', {})
    storage.put('vm/log-2', b'two', {})
    storage.put('vm/log-2', b'new', {})
    assert storage.get('vm/log-2') == b'new'
    assert storage.names('vm/') == ['vm/log-1', 'vm/log-2']
    storage.remove('vm/log-1')
    storage.remove('vm/log-1')
    assert storage.names('vm/') == ['vm/log-2']


def test_storages_are_found_by_name(tmp_path: pathlib.Path) -> None:
    target = base.Target('file', str(tmp_path), 'backups')
    assert isinstance(registry.connect(target), file.File)
    with pytest.raises(
        errors.InvalidArgument, match=r"'tape' is not one of file, swift"
    ):
        registry.connect(base.Target('tape', str(tmp_path), 'backups'))


CATALOG = [
    {'type': 'compute', 'endpoints': [{'publicURL': 'http://nova'}]},
    {
        'type': 'object-store',
        'endpoints': [
            {'region': 'one', 'publicURL': 'http://one', 'internalURL': 'http://in'},
            {'region': 'two', 'interface': 'public', 'url': 'http://two'},
        ],
    },
]


@pytest.mark.parametrize(
    ('region', 'interface', 'url'),
    [
        ('', 'public', 'http://one'),
        ('', 'internal', 'http://in'),
        ('two', 'public', 'http://two'),
    ],
)
def test_a_catalog_says_where_swift_is(region: str, interface: str, url: str) -> None:
    assert catalog.object_store(CATALOG, region, interface) == url


def test_a_catalog_without_swift_is_named() -> None:
    with pytest.raises(errors.InvalidArgument, match='no public endpoint of object-st'):
        catalog.object_store(CATALOG, 'three')
