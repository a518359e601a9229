# SPDX-License-Identifier: Apache-2.0
"""The data volume under Trove: a real one, as root, on a loop device.

The guest has mounts, /etc and lists of packages of its own: what it mounts, writes into
fstab and learns of packages is not this machine's.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests import capabilities
from tests.interop.trove import guests
from tests.interop.trove import plane as planes

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

MIB = 1024**2
#: Enters what is the guest's own and becomes the agent.
_ENTER = (
    'mount --bind "$0/etc" /etc && mount --bind "$0/lists" /var/lib/apt/lists '
    '&& exec "$@"'
)


class Volume:
    """A loop device, and the guest whose data is on it.

    :ivar folder: of the guest's own /etc, among others.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.image = folder / 'image'
        self.image.touch()
        os.truncate(self.image, 400 * MIB)
        made = run('losetup', '--find', '--show', self.image)
        if made.returncode:
            pytest.skip(f'this machine gives no loop device: {made.stderr.strip()}')
        self.device = made.stdout.strip()
        shutil.copytree('/etc', folder / 'etc', symlinks=True)
        # What is newer is nowhere: a test changes none of this machine's packages.
        shutil.rmtree(folder / 'etc' / 'apt' / 'sources.list.d', ignore_errors=True)
        (folder / 'etc' / 'apt' / 'sources.list').write_text('')
        (folder / 'lists').mkdir()
        self.under = ('unshare', '--mount', 'sh', '-c', _ENTER, str(folder))

    def grow(self) -> None:
        """Make the device 100 MiB larger, as Cinder does."""
        os.truncate(self.image, self.image.stat().st_size + 100 * MIB)
        assert run('losetup', '--set-capacity', self.device).returncode == 0

    def close(self) -> None:
        """Give the device back."""
        run('losetup', '--detach', self.device)


def run(*argv: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=180
    )


@pytest.fixture(scope='module')
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    if run('unshare', '--mount', 'true').returncode:
        pytest.skip('this machine gives no mounts of their own')
    made = Volume(tmp_path_factory.mktemp('volume'))
    yield made
    made.close()


@pytest.fixture(scope='module')
def held(plane: planes.Plane, volume: Volume) -> Iterator[guests.Guest]:
    """An instance that Trove has prepared on a new volume."""
    guest = guests.Guest(plane, True, under=volume.under)
    try:
        guest.prepare(device_path=volume.device, databases=[{'_name': 'shop'}])
        guest.start()
        guest.wait_status('healthy')
        yield guest
    finally:
        guest.remove()


def mounted(guest: guests.Guest) -> bool:
    """Whether the volume is mounted where the guest has its data."""
    assert guest.agent is not None
    found = pathlib.Path(f'/proc/{guest.agent.pid}/mountinfo').read_text()
    return f' {guest.folder / "volume"} ' in found


def test_a_snapshot_holds_whole_data(held: guests.Guest, volume: Volume) -> None:
    assert mounted(held)
    held.wait(lambda: held.query("show databases like 'shop'"), 'the database')
    held.query('create table shop.t (n int); insert into shop.t values (1)')
    assert held.call('pre_create_backup') == {}
    writer = threading.Thread(target=held.query, args=('create table shop.u (n int)',))
    writer.start()
    shutil.copy(volume.image, copy := volume.folder / 'snapshot')
    assert writer.is_alive()
    assert held.call('post_create_backup') == {}
    writer.join(120)
    assert not writer.is_alive()
    # A file system that was not frozen would have to be recovered by its journal.
    features = run('dumpe2fs', '-h', copy).stdout
    assert 'has_journal' in features
    assert 'needs_recovery' not in features
    with pytest.raises(planes.Failed, match='no whole data'):
        held.call('post_create_backup')


@pytest.mark.parametrize(
    'online',
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not capabilities.has(capabilities.SYS_RESOURCE),
                reason='needs CAP_SYS_RESOURCE',
            ),
        ),
        False,
    ],
)
def test_a_volume_grows(held: guests.Guest, volume: Volume, online: bool) -> None:
    place = {'device_path': volume.device, 'mount_point': str(held.folder / 'volume')}
    before = held.call('get_volume_info')['total']
    if not online:
        held.call('stop_db')
    volume.grow()
    held.call('resize_fs', online=online, **place)
    assert held.call('get_volume_info')['total'] > before
    held.call('restart')
    assert held.query('select n from shop.t') == ['1']


def test_a_volume_is_unmounted_and_mounted(held: guests.Guest, volume: Volume) -> None:
    place = {'device_path': volume.device, 'mount_point': str(held.folder / 'volume')}
    table = volume.folder / 'etc' / 'fstab'
    held.call('stop_db')
    held.call('unmount_volume', **place)
    assert not mounted(held)
    assert str(held.folder) not in table.read_text()
    held.call('mount_volume', **place)
    assert mounted(held)
    assert str(held.folder) in table.read_text()
    held.call('restart')
    held.wait_status('healthy')
    assert held.query('select n from shop.t') == ['1']


def test_a_server_is_upgraded(held: guests.Guest) -> None:
    pid = held.folder / 'run' / 'pid'
    before = pid.read_text()
    held.cast('upgrade', upgrade_info={})
    held.wait(lambda: outcomes(held, 'trove.upgrade'), 'its end')
    assert outcomes(held, 'trove.upgrade') == ['done']
    assert pid.read_text() != before
    held.wait_status('healthy')
    assert held.query('select n from shop.t') == ['1']


def outcomes(guest: guests.Guest, command: str) -> list[str]:
    """Return how the runs of a command have ended."""
    lines = (guest.folder / 'state' / 'audit.log').read_text().splitlines()
    records = [json.loads(line[line.index('{') :]) for line in lines if '{' in line]
    return [
        str(one['outcome'])
        for one in records
        if one['kind'] == 'outcome' and one.get('command') == command
    ]
