# SPDX-License-Identifier: Apache-2.0
"""Log files that go into a storage in parts."""

import json
import os
import pathlib
from typing import Any

import pytest
from guestagent_datastore.backups import parts
from guestagent_datastore.storage import base, file

from guestagent import errors

PREFIX = 'vm-1/mariadb-error'


@pytest.fixture
def storage(tmp_path: pathlib.Path) -> file.File:
    return file.File(base.Target('file', str(tmp_path), 'logs'))


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'error.log'


def handle(
    storage: base.Storage, log: pathlib.Path, action: str, limit: int = 100
) -> Any:
    [shown] = parts.handle(
        storage,
        {
            'action': action,
            'limit': limit,
            'keep': 0,
            'logs': [
                {'name': 'error', 'kind': 'SYS', 'path': str(log), 'prefix': PREFIX}
            ],
        },
    )
    return shown


def stored(storage: base.Storage) -> list[bytes]:
    return [storage.get(name) or b'' for name in storage.names(f'{PREFIX}/')]


def lines(first: int, last: int) -> bytes:
    return b''.join(b'line %d of the log\n' % number for number in range(first, last))


def test_what_is_new_is_published(storage: file.File, log: pathlib.Path) -> None:
    log.write_bytes(lines(0, 20))
    shown = handle(storage, log, 'show')
    assert (shown['published'], shown['pending']) == (0, len(lines(0, 20)))
    shown = handle(storage, log, 'publish')
    assert (shown['published'], shown['pending']) == (len(lines(0, 20)), 0)
    with log.open('ab') as more:
        more.write(lines(20, 25) + b'half a li')
    assert handle(storage, log, 'show')['pending'] == len(lines(20, 25)) + 9
    handle(storage, log, 'publish')
    with log.open('ab') as more:
        more.write(b'ne\n')
    handle(storage, log, 'publish')
    assert b''.join(stored(storage)) == lines(0, 25) + b'half a line\n'
    assert all(len(part) <= 100 for part in stored(storage))


def test_parts_end_with_lines(storage: file.File, log: pathlib.Path) -> None:
    log.write_bytes(lines(0, 20) + b'x' * 250 + b'\n' + lines(20, 30))
    handle(storage, log, 'publish')
    assert b''.join(stored(storage)) == log.read_bytes()
    assert sum(part.endswith(b'\n') for part in stored(storage)) >= 7
    assert b'x' * 100 in stored(storage), 'a long line is cut'


def test_trove_knows_how_much_it_is(storage: file.File, log: pathlib.Path) -> None:
    log.write_bytes(lines(0, 3))
    shown = handle(storage, log, 'publish')
    assert shown['metafile'] == f'{PREFIX}_metafile'
    assert shown['prefix'] == f'{PREFIX}/'
    assert shown['container'] == 'logs'
    known = json.loads(storage.get(shown['metafile']) or b'')
    assert known['log_size'] == len(lines(0, 3))
    assert (known['log_name'], known['log_type']) == ('error', 'SYS')
    assert known['log_file'] == str(log)


@pytest.mark.parametrize('size', [2, 50])
def test_a_rotated_log_begins_anew(
    storage: file.File, log: pathlib.Path, size: int
) -> None:
    log.write_bytes(lines(0, 20))
    handle(storage, log, 'publish')
    log.write_bytes(lines(100, 100 + size))
    shown = handle(storage, log, 'show')
    assert shown['rotated']
    assert shown['pending'] == len(lines(100, 100 + size))
    shown = handle(storage, log, 'publish')
    assert not shown['rotated']
    assert b''.join(stored(storage)) == lines(100, 100 + size)


def test_what_was_published_is_discarded(storage: file.File, log: pathlib.Path) -> None:
    log.write_bytes(lines(0, 20))
    handle(storage, log, 'publish')
    shown = handle(storage, log, 'discard')
    assert (shown['published'], shown['pending']) == (0, len(lines(0, 20)))
    assert storage.names('') == []
    assert log.read_bytes() == lines(0, 20)


def test_a_log_that_is_not_there_is_empty(
    storage: file.File, log: pathlib.Path
) -> None:
    for action in ('show', 'publish', 'discard'):
        shown = handle(storage, log, action)
        assert (shown['size'], shown['published'], shown['pending']) == (0, 0, 0)


def test_nothing_but_a_file_is_published(
    storage: file.File, log: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'secret').write_text('of somebody else')
    log.symlink_to(tmp_path / 'secret')
    with pytest.raises(errors.GuestError, match=r'error\.log'):
        handle(storage, log, 'publish')
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(errors.GuestError, match='it is no file'):
        handle(storage, log, 'publish')


def test_a_damaged_note_is_told(storage: file.File, log: pathlib.Path) -> None:
    log.write_bytes(lines(0, 20))
    storage.put(f'{PREFIX}_metafile', b'{}', {})
    with pytest.raises(errors.StorageError, match='discard the log'):
        handle(storage, log, 'publish')
    handle(storage, log, 'discard')
    assert handle(storage, log, 'publish')['pending'] == 0
