# SPDX-License-Identifier: Apache-2.0
"""Restores that fail: the server goes on with the data of before."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_datastore import files

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests
from tests.functional.datastore.backups import held as helds
from tests.functional.datastore.backups import test_mariadb_backups as agents

pytestmark = pytest.mark.functional


@pytest.fixture(scope='module', params=['mariadb', 'postgresql', 'redis'])
def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[guests.Guest]:
    """A guest with a server, and a backup ``b1`` of it."""
    made = guests.make_guest(request.param)
    share = tmp_path_factory.mktemp('share')
    try:
        made.stop()
        made.options |= {'backup_storage': 'file', 'backup_folder': str(share)}
        made.start()
        made.call('prepare', memory=64, config=SMALL.get(request.param, ''))
        made.call('backup_create', backup_id='b1')
        yield made
    finally:
        made.remove()


#: What makes the least of a server.
SMALL = {'mariadb': '[mariadbd]\ninnodb_log_file_size = 8M\n'}


@pytest.fixture
def backup(guest: guests.Guest, marked: None) -> Iterator[pathlib.Path]:
    """The backup, which is another afterwards: what tests do to it is undone."""
    [path] = pathlib.Path(guest.options['backup_folder']).glob('*/b1.*[!n]')
    note = path.with_name(f'{path.name}.json')
    before = path.read_bytes(), note.read_bytes()
    yield path
    path.write_bytes(before[0])
    note.write_bytes(before[1])


@pytest.fixture
def marked(guest: guests.Guest) -> None:
    """The server has something that the backup has not."""
    if guest.options['engine'] == 'redis':
        redis(guest, 'SET', 'later', 'x')
    else:
        guest.call('database_create', databases=[{'name': 'later'}])


def redis(guest: guests.Guest, *words: str) -> Any:
    assert guest.made is not None
    return guest.made.engine.client.run(*words)  # type: ignore[attr-defined]


def has_mark(guest: guests.Guest) -> bool:
    if guest.options['engine'] == 'redis':
        return bool(redis(guest, 'EXISTS', 'later'))
    found = guest.call('database_list')['items']
    return 'later' in [database['name'] for database in found]


def check_returned(guest: guests.Guest) -> None:
    """The server serves the data of before, and nothing else is left."""
    status = guest.call('status')
    assert (status['state'], status['operation']) == ('healthy', None)
    assert has_mark(guest)
    assert guest.call('config_show')
    check_volume(guest)


def check_volume(guest: guests.Guest) -> None:
    volume = pathlib.Path(guest.options['mount_point'])
    found = {path.name for path in volume.iterdir()}
    assert found - {'tmp', 'lost+found'} == {'data', 'guestagent'}


def damage(path: pathlib.Path) -> None:
    """Change it so that this is seen at its end only, when all has been restored."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def test_a_stream_that_is_cut(guest: guests.Guest, backup: pathlib.Path) -> None:
    location = f'file://{backup}'
    with helds.held(guest, 'backup_restore', location=location) as running:
        running.kill()
        with pytest.raises(errors.GuestError, match='was killed'):
            running.go()
    check_returned(guest)


def test_a_server_that_does_not_serve_with_it(
    guest: guests.Guest, backup: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guest.made is not None

    def secure() -> None:
        assert not has_mark(guest), 'it runs on what was restored'
        raise errors.GuestError('it does not serve')

    monkeypatch.setattr(guest.made.engine, 'secure', secure)
    with pytest.raises(errors.GuestError, match='it does not serve'):
        guest.call('backup_restore', location=f'file://{backup}')
    monkeypatch.undo()
    check_returned(guest)
    # Nor does it come back as it was restored.
    guest.call('server_restart')
    assert has_mark(guest)


def test_data_that_cannot_be_kept_stays(
    guest: guests.Guest, backup: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: pathlib.Path, target: pathlib.Path) -> None:
        raise errors.StorageError('there is not even room for this')

    monkeypatch.setattr(files, 'copy', copy)
    with pytest.raises(errors.StorageError, match='not even room'):
        guest.call('backup_restore', location=f'file://{backup}')
    check_returned(guest)


def test_a_restore_within_prepare_that_is_cancelled(
    guest: guests.Guest, backup: pathlib.Path
) -> None:
    restore = {'location': f'file://{backup}'}
    with helds.held(guest, 'prepare', restore=restore) as running:
        assert running.context.progress[1]
        assert guest.call('status')['operation']['name'] == 'prepare'
        running.context.cancel(errors.Cancelled('enough'))
        with pytest.raises(errors.Cancelled, match='enough'):
            running.go()
    check_returned(guest)


def test_an_agent_that_is_killed_while_it_restores(
    guest: guests.Guest, backup: pathlib.Path
) -> None:
    data = pathlib.Path(guest.options['mount_point']) / 'data'
    before = data.stat().st_ino
    restore = agents.another_agent(guest, 'backup_restore', location=f'file://{backup}')
    with restore as agent:

        def begun() -> bool:
            # It is away for a moment.
            with contextlib.suppress(FileNotFoundError):
                return data.stat().st_ino != before and any(data.iterdir())
            return False

        processes.wait_for(begun, 'it has begun', 60, spacing=0.001)
        agent.send_signal(signal.SIGKILL)
    assert guest.made is not None
    guest.made.settle()
    guest.made.tidy()  # type: ignore[attr-defined]
    status = guest.call('status')
    assert status['interrupted']['operation'] == 'backup_restore'
    assert 'the data of before is back' in status['interrupted']['found']
    check_returned(guest)


def test_a_restore_leaves_nothing_of_before(
    guest: guests.Guest, backup: pathlib.Path
) -> None:
    guest.call('backup_restore', location=f'file://{backup}')
    assert guest.call('status')['state'] == 'healthy'
    assert not has_mark(guest)
    check_volume(guest)


@pytest.fixture
def small() -> Iterator[guests.Guest]:
    """A guest with a server on a volume of its own, and a folder for its backups."""
    made = guests.make_guest('mariadb')
    share = made.folder / 'share'
    share.mkdir()
    with agents.small_volume(512) as volume:
        try:
            made.stop()
            made.options |= {
                'mount_point': str(volume),
                'backup_storage': 'file',
                'backup_folder': str(share),
            }
            made.start()
            made.call('prepare', memory=64, config=SMALL['mariadb'])
            yield made
        finally:
            made.remove()


def leave_free(guest: guests.Guest, megabytes: int) -> None:
    """Make the volume of a guest so small that no more is free."""
    volume = guest.options['mount_point']
    used = shutil.disk_usage(volume).used
    size = f'remount,size={used + megabytes * 1024**2}'
    subprocess.run(['mount', '-o', size, volume], check=True)


def test_a_volume_without_room_for_both(small: guests.Guest) -> None:
    made = small.call('backup_create', backup_id='b1')
    location, note = made['location'], pathlib.Path(f'{made["location"][7:]}.json')
    small.call('database_create', databases=[{'name': 'later'}])
    leave_free(small, 2)
    # Where it is found too late, the old data is still there.
    told = note.read_text()
    note.write_text(told.replace(made['metadata']['data_size'], '1'))
    with pytest.raises(errors.DiskFull, match='No space left on device'):
        small.call('backup_restore', location=location)
    check_returned(small)
    # Where it is known before, the old data goes first.
    note.write_text(told)
    small.call('backup_restore', location=location)
    assert small.call('status')['state'] == 'healthy'
    assert not has_mark(small)
    # Then there is no way back.
    damage(pathlib.Path(location[7:]))
    with pytest.raises(errors.StorageError, match='no data any more: the volume has'):
        small.call('backup_restore', location=location)
    assert small.call('status')['state'] == 'new'
