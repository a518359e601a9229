# SPDX-License-Identifier: Apache-2.0
"""The data volume: format, mount, move data to it, grow, freeze.

A device that holds anything at all is never formatted.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import tempfile

from guestagent import errors, extension
from guestagent_datastore import files, models, programs

#: Where a copy is made on a volume, and what may lie on one that holds nothing.
COPY = '.guestagent-copy'
_EMPTY = ('lost+found', COPY)
#: Which volumes are mounted when the guest starts.
FSTAB = pathlib.Path('/etc/fstab')


def device_of(mount_point: pathlib.Path) -> str:
    """Return what is mounted there; ``''``: nothing."""
    _, device = _mounted(mount_point)
    return device


def number_of(mount_point: pathlib.Path) -> str:
    """Return ``major:minor`` of what is mounted there; ``''``: nothing."""
    number, _ = _mounted(mount_point)
    return number


def _mounted(mount_point: pathlib.Path) -> tuple[str, str]:
    for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines():
        left, _, right = line.partition(' - ')
        fields = left.split()
        if _unescape(fields[4]) == str(mount_point):
            return fields[2], _unescape(right.split()[1])
    return '', ''


def mount(device: str, mount_point: pathlib.Path, context: extension.Context) -> None:
    """Mount a volume, now and at each start; a blank one is formatted first.

    What lies in the folder moves to a volume that holds nothing.

    :raises guestagent.errors.InvalidArgument: there is no such device, or another one
        is mounted there.
    :raises guestagent.errors.GuestError: the guest cannot.
    """
    _check(device)
    present = device_of(mount_point)
    if present and os.path.realpath(present) != os.path.realpath(device):
        raise errors.InvalidArgument(
            f'mount_point: {present} is mounted on {mount_point}'
        )
    if not present:
        if not _contents(device):
            context.report_progress(text=f'formatting {device}')
            _run('mkfs.ext4', '-q', '-m', '0', device, seconds=3600)
        files.make_folder(mount_point, '')
        if any(mount_point.iterdir()):
            context.report_progress(text=f'moving {mount_point} to {device}')
            _move(mount_point, device)
        _run('mount', device, str(mount_point))
    _remember(device, mount_point)


def unmount(mount_point: pathlib.Path) -> None:
    """Unmount what is mounted there, for good; nothing if nothing is.

    :raises guestagent.errors.GuestError: it is in use.
    """
    if device_of(mount_point):
        _run('umount', str(mount_point))
    _remember('', mount_point)


def resize(device: str, mount_point: pathlib.Path, online: bool) -> None:
    """Let the file system fill its device.

    :param online: while it is mounted.
    :raises guestagent.errors.GuestError: it cannot grow.
    """
    _check(device)
    kind = _contents(device)
    if kind == 'xfs':
        _run('xfs_growfs', str(mount_point), seconds=3600)
        return
    if kind not in ('ext2', 'ext3', 'ext4'):
        raise errors.GuestError(f'{device} holds {kind or "nothing"}: it cannot grow')
    mounted = bool(device_of(mount_point))
    if mounted and not online:
        _run('umount', str(mount_point))
    try:
        if not (mounted and online):
            _run('e2fsck', '-f', '-p', device, seconds=3600, codes=(0, 1))
        _run('resize2fs', device, seconds=3600)
    finally:
        if mounted and not online:
            _run('mount', device, str(mount_point))


def stats(path: pathlib.Path) -> dict[str, int]:
    """Return the size of the file system of a path.

    :raises guestagent.errors.InvalidArgument: there is no such path.
    """
    try:
        seen = os.statvfs(path)
    except OSError as error:
        raise errors.InvalidArgument(f'path: {path}: {error.strerror}') from None
    return {
        'block_size': seen.f_frsize,
        'total_blocks': seen.f_blocks,
        'free_blocks': seen.f_bfree,
        'avail_blocks': seen.f_bavail,
        'total': seen.f_blocks * seen.f_frsize,
        'free': seen.f_bavail * seen.f_frsize,
        'used': (seen.f_blocks - seen.f_bfree) * seen.f_frsize,
    }


def _check(device: str) -> None:
    if not device.startswith('/dev/') or not pathlib.Path(device).is_block_device():
        raise errors.InvalidArgument(f'device_path: {device!r} is no block device')


def _contents(device: str) -> str:
    """Return what a device holds, such as ``ext4``; ``''``: it is blank."""
    said = _run('blkid', '--probe', '--output', 'export', device, codes=(0, 2))
    values = dict(line.partition('=')[::2] for line in said.splitlines())
    values.pop('DEVNAME', None)
    return values.get('TYPE') or next(iter(values.values()), '')


def _move(folder: pathlib.Path, device: str) -> None:
    """Copy a folder to a volume as it is, then empty it; its files must be at rest.

    The copy is whole before it stands where it belongs: one that was cut short is made
    anew.

    :raises guestagent.errors.GuestError: the volume has other data.
    """
    target = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-volume-'))
    _run('mount', device, str(target))
    try:
        copy = target / COPY
        other = [path for path in target.iterdir() if path.name not in _EMPTY]
        if other:
            raise errors.GuestError(
                f'{folder} and {device} both hold data: empty one of them'
            )
        files.empty(copy)
        _run('cp', '--archive', f'{folder}/.', str(copy), seconds=86400)
        _run('sync', '--file-system', str(target), seconds=3600)
        for path in copy.iterdir():
            path.rename(target / path.name)
        copy.rmdir()
    finally:
        _run('umount', str(target))
        target.rmdir()
    files.empty(folder)


def _remember(device: str, mount_point: pathlib.Path) -> None:
    """Have a volume mounted at each start; ``''``: none."""
    text = files.read(FSTAB)
    lines = [
        line
        for line in text.splitlines()
        if _unescape([*line.split(), '', ''][1]) != str(mount_point)
        or line.startswith('#')
    ]
    if device:
        said = _run(
            'blkid', '--probe', '--output', 'value', '--match-tag', 'UUID', device
        )
        escaped = re.sub(r'[\s\\]', lambda m: f'\\{ord(m[0]):03o}', str(mount_point))
        lines.append(f'UUID={said.strip()} {escaped} auto defaults,noatime,nofail 0 2')
    fresh = '\n'.join([*lines, ''])
    if fresh != text:
        mode = 0o644 if not FSTAB.exists() else FSTAB.stat().st_mode & 0o777
        files.write(FSTAB, fresh, mode)


def _unescape(text: str) -> str:
    return re.sub(r'\\([0-7]{3})', lambda found: chr(int(found[1], 8)), text)


def _run(*argv: str, seconds: float = 60, codes: tuple[int, ...] = (0,)) -> str:
    if shutil.which(argv[0], path=programs.PATH) is None:
        raise errors.GuestError(f'this guest has no {argv[0]}')
    return programs.run(models.Command(argv), seconds=seconds, codes=codes)
