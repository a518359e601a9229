# SPDX-License-Identifier: Apache-2.0
"""Volumes on loop devices: as root, where the kernel has any to give."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest
from guestagent_datastore import volume

from guestagent import errors, extension
from tests import capabilities

pytestmark = pytest.mark.functional

MIB = 1024 * 1024


@pytest.fixture
def image(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / 'image'
    path.touch()
    os.truncate(path, 32 * MIB)
    return path


@pytest.fixture
def device(image: pathlib.Path) -> Iterator[str]:
    made = subprocess.run(
        ['losetup', '--find', '--show', image],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f'this machine gives no loop device: {made.stderr.strip()}')
    name = made.stdout.strip()
    yield name
    subprocess.run(['losetup', '--detach', name], check=True)


@pytest.fixture
def folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pathlib.Path]:
    """A mount point, and a table of mounts that is not the machine's."""
    monkeypatch.setattr(volume, 'FSTAB', tmp_path / 'fstab')
    path = tmp_path / 'a folder'
    path.mkdir()
    yield path
    if volume.device_of(path):
        subprocess.run(['umount', path], check=True)


def test_a_blank_volume_is_formatted_and_takes_what_was_there(
    device: str,
    folder: pathlib.Path,
    context: extension.Context,
    tmp_path: pathlib.Path,
) -> None:
    (folder / 'data').mkdir()
    (folder / 'data' / 'rows').write_text('kept')
    os.chown(folder / 'data', 12345, 12345)

    volume.mount(device, folder, context)
    volume.mount(device, folder, context)  # a second time is no harm

    assert volume.device_of(folder) == device
    assert (folder / 'data' / 'rows').read_text() == 'kept'
    assert (folder / 'data').stat().st_uid == 12345
    lines = (tmp_path / 'fstab').read_text().splitlines()
    assert len(lines) == 1
    assert r'a\040folder' in lines[0]
    volume.unmount(folder)
    assert not volume.device_of(folder)
    assert not any(folder.iterdir())
    assert (tmp_path / 'fstab').read_text() == ''


def test_what_holds_data_is_not_formatted(
    device: str, folder: pathlib.Path, context: extension.Context
) -> None:
    volume.mount(device, folder, context)
    (folder / 'rows').write_text('kept')
    volume.unmount(folder)
    volume.mount(device, folder, context)
    assert (folder / 'rows').read_text() == 'kept'
    volume.unmount(folder)
    (folder / 'other').write_text('in the way')
    with pytest.raises(errors.GuestError, match='both hold data'):
        volume.mount(device, folder, context)


def test_a_move_that_was_cut_short_is_made_anew(
    device: str,
    folder: pathlib.Path,
    context: extension.Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / 'rows').write_text('kept')

    def cut(path: pathlib.Path) -> None:
        # As the kernel leaves it: a part of the copy, nothing in its place.
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, 'rename', lambda path, target: cut(path))
        with pytest.raises(KeyboardInterrupt):
            volume.mount(device, folder, context)
    assert (folder / 'rows').read_text() == 'kept'
    assert not volume.device_of(folder)
    volume.mount(device, folder, context)
    assert volume.device_of(folder) == device
    assert (folder / 'rows').read_text() == 'kept'
    assert not (folder / volume.COPY).exists()


@pytest.mark.parametrize(
    'online',
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not capabilities.has(capabilities.SYS_RESOURCE),
                reason='without CAP_SYS_RESOURCE no mounted ext4 grows',
            ),
        ),
        False,
    ],
)
def test_a_file_system_grows(
    device: str,
    image: pathlib.Path,
    folder: pathlib.Path,
    context: extension.Context,
    online: bool,
) -> None:
    volume.mount(device, folder, context)
    before = volume.stats(folder)['total']
    os.truncate(image, 64 * MIB)
    subprocess.run(['losetup', '--set-capacity', device], check=True)
    volume.resize(device, folder, online)
    assert volume.stats(folder)['total'] > before * 1.5
    assert volume.device_of(folder) == device


@pytest.mark.skipif(
    not re.search(r'\bxfs$', pathlib.Path('/proc/filesystems').read_text(), re.M),
    reason='this kernel knows no XFS',
)
@pytest.mark.parametrize('online', [True, False])
def test_xfs_grows_where_it_is_mounted(
    device: str,
    image: pathlib.Path,
    folder: pathlib.Path,
    context: extension.Context,
    online: bool,
) -> None:
    # Given one that somebody has made; a smaller one there is not.
    os.truncate(image, 300 * MIB)
    subprocess.run(['losetup', '--set-capacity', device], check=True)
    subprocess.run(['mkfs.xfs', '-q', device], check=True)
    volume.mount(device, folder, context)
    (folder / 'rows').write_text('kept')
    before = volume.stats(folder)['total']
    # when its device has grown,
    os.truncate(image, 600 * MIB)
    subprocess.run(['losetup', '--set-capacity', device], check=True)
    volume.resize(device, folder, online)
    # then it fills it, and was never away.
    assert volume.stats(folder)['total'] > before * 1.8
    assert (folder / 'rows').read_text() == 'kept'
    volume.unmount(folder)
    with pytest.raises(errors.GuestError, match='not a mounted XFS'):
        volume.resize(device, folder, online)


def test_what_is_no_device_is_refused(
    folder: pathlib.Path, context: extension.Context, image: pathlib.Path
) -> None:
    for name in ('/dev/nowhere', str(image), 'vdb', '--help'):
        with pytest.raises(errors.InvalidArgument, match='no block device'):
            volume.mount(name, folder, context)
