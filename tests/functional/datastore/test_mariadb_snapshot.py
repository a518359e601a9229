# SPDX-License-Identifier: Apache-2.0
"""A volume that is held still for a snapshot; as root, on a loop device."""

from __future__ import annotations

import os
import pathlib
import subprocess
import threading
from collections.abc import Iterator

import pytest
from guestagent_datastore import volume

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


@pytest.fixture(scope='module')
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[guests.Guest]:
    """A guest whose server has a volume of its own."""
    folder = tmp_path_factory.mktemp('snapshot')
    image = folder / 'image'
    image.touch()
    os.truncate(image, 512 * 1024 * 1024)
    made = subprocess.run(
        ['losetup', '--find', '--show', image],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f'this machine gives no loop device: {made.stderr.strip()}')
    device = made.stdout.strip()
    before, volume.FSTAB = volume.FSTAB, folder / 'fstab'
    found = guests.make_guest('mariadb')
    try:
        found.call('prepare', memory=64, device_path=device)
        yield found
    finally:
        found.stop_server()
        subprocess.run(['umount', found.folder / 'volume'], check=False)
        subprocess.run(['losetup', '--detach', device], check=False)
        found.remove()
        volume.FSTAB = before


def writes(guest: guests.Guest) -> threading.Thread:
    """Begin a write; it ends when the server may write again."""
    made = threading.Thread(
        target=guest.query, args=('CREATE DATABASE IF NOT EXISTS shop',)
    )
    made.start()
    return made


def test_prepare_puts_the_data_on_the_volume(guest: guests.Guest) -> None:
    device = volume.device_of(guest.folder / 'volume')
    assert device.startswith('/dev/loop')
    assert (guest.folder / 'volume' / 'data' / 'mysql').is_dir()


def test_nothing_is_written_while_it_is_held(guest: guests.Guest) -> None:
    held = guest.call('snapshot_begin')
    assert held['mount_point'] == str(guest.folder / 'volume')
    assert guest.host.holds == {
        'datastore': [volume.number_of(guest.folder / 'volume')]
    }
    writer = writes(guest)
    with pytest.raises(errors.Transient, match='a snapshot is being taken'):
        guest.call('database_create', databases=[{'name': 'other'}])
    assert guest.call('status')['state'] == 'healthy'
    writer.join(0.5)
    assert writer.is_alive()
    assert guest.call('snapshot_end') == {'held': True}
    assert guest.host.holds == {}
    writer.join(60)
    assert not writer.is_alive()
    assert guest.call('snapshot_end') == {'held': False}


def test_it_thaws_by_itself(guest: guests.Guest) -> None:
    guest.call('snapshot_begin', limit=0.5)
    writer = writes(guest)
    writer.join(60)
    assert not writer.is_alive()
    assert guest.call('snapshot_end') == {'held': False}
    guest.call('database_create', databases=[{'name': 'other'}])
    assert not (guest.folder / 'state' / 'frozen').exists()


def test_what_was_left_frozen_is_thawed_at_the_next_start(
    guest: guests.Guest, tmp_path: pathlib.Path
) -> None:
    guest.stop()
    folder = guest.folder / 'volume'
    subprocess.run(['fsfreeze', '--freeze', folder], check=True)
    (guest.folder / 'state' / 'frozen').write_text(str(folder))
    guest.start()
    processes.wait_for(
        lambda: guest.call('status')['state'] == 'healthy', 'the server serves', 60
    )
    guest.call('database_delete', name='other')


def test_a_folder_is_no_volume(mariadb: guests.Guest) -> None:
    with pytest.raises(errors.GuestError, match='no volume of its own'):
        mariadb.call('snapshot_begin')
    with pytest.raises(errors.InvalidArgument, match='limit'):
        mariadb.call('snapshot_begin', limit=0)
    mariadb.call('database_create', databases=[{'name': 'after'}])
    mariadb.call('database_delete', name='after')
