# SPDX-License-Identifier: Apache-2.0
"""Filesystems and how full they are.

statvfs(2) of a filesystem whose server has gone may never return, and so may the way
to a mount point below it.  Such filesystems are named, but never touched; the others
are asked on a thread that is not waited for for ever.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterable
from typing import Any

from guestagent_monitoring import bounded

#: How long a filesystem may take to tell how full it is.
SECONDS = 5.0
#: Types that need somebody else to answer; besides fuse.*.
REMOTE = frozenset(
    (
        '9p',
        'afs',
        'beegfs',
        'ceph',
        'cifs',
        'coda',
        'gfs2',
        'glusterfs',
        'gpfs',
        'lustre',
        'ncpfs',
        'nfs',
        'nfs4',
        'ocfs2',
        'orangefs',
        'smb3',
        'smbfs',
        'virtiofs',
    )
)
#: Types that store things, though the kernel calls them "nodev".
NODEV_STORES = frozenset(
    ('bcachefs', 'btrfs', 'jffs2', 'overlay', 'ramfs', 'tmpfs', 'ubifs', 'zfs')
)

_ESCAPE = re.compile(r'\\([0-7]{3})')


class Mount:
    """A line of /proc/self/mountinfo (proc(5)).

    :ivar identity: the number of the filesystem, the same in each of its mounts.
    :ivar is_whole: its root is mounted, not a folder in it.
    """

    __slots__ = ('device', 'identity', 'is_whole', 'mount_point', 'read_only', 'type')

    def __init__(self, line: str) -> None:
        # Between the options of the mount and the type are any number of tags.
        mine, _, filesystem = line.partition(' - ')
        _, _, self.identity, root, point, options, *_ = mine.split(' ')
        self.type, device, super_options = filesystem.split(' ')[:3]
        self.device = _unescape(device)
        self.mount_point = _unescape(point)
        self.is_whole = root == '/'
        self.read_only = 'ro' in (*options.split(','), *super_options.split(','))

    @property
    def is_remote(self) -> bool:
        """Whether another machine, or a program, must answer for it."""
        return self.type in REMOTE or self.type.startswith('fuse.')

    def describe(self) -> dict[str, Any]:
        """Return ``{mount_point, device, type, read_only}``."""
        return {
            'mount_point': _text(self.mount_point),
            'device': _text(self.device),
            'type': self.type,
            'read_only': self.read_only,
        }


def filesystems(
    root: str = '/',
    ignored_mounts: Collection[str] = (),
    ignored_types: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the filesystems that store something, sorted by mount point.

    Each is ``{mount_point, device, type, read_only, total, used, free}``, in bytes;
    ``free`` is what users may still fill.  The last three are ``None`` where asking
    for them might hang, or did.  A filesystem that is mounted more than once is named
    once.
    """
    wanted, figures = look(root, ignored_mounts, ignored_types, distinct=True)
    return sorted(
        (
            {**mount.describe(), **_amounts(figures.get(mount.mount_point))}
            for mount in wanted
        ),
        key=lambda item: str(item['mount_point']),
    )


def look(
    root: str = '/',
    ignored_mounts: Collection[str] = (),
    ignored_types: Collection[str] = (),
    distinct: bool = False,
) -> tuple[list[Mount], dict[str, os.statvfs_result]]:
    """Return the mounts that store something, and the figures of those that tell.

    :param distinct: each filesystem once, not each of its mounts.
    """
    mounts = _visible(_read_lines(root, 'proc/self/mountinfo'))
    remote = tuple(
        mount.mount_point.rstrip('/') + '/'
        for mount in mounts
        if mount.is_remote and mount.mount_point != '/'
    )
    stores = _block_types(root) | NODEV_STORES
    wanted = [
        mount
        for mount in mounts
        if (mount.is_remote or mount.type in stores)
        and not _matches(mount.type, ignored_types)
        and not _matches(mount.mount_point, ignored_mounts)
    ]
    if distinct:
        wanted = _distinct(wanted)
    harmless = (
        mount.mount_point
        for mount in wanted
        if not mount.is_remote and not mount.mount_point.startswith(remote)
    )
    return wanted, _STATVFS.ask(harmless)


def _statvfs(path: str) -> os.statvfs_result:
    return os.statvfs(path)


#: Even a disk of this machine may never answer: its cable, or its server, is gone.
_STATVFS = bounded.Asker(_statvfs, SECONDS)


def _amounts(figures: os.statvfs_result | None) -> dict[str, int | None]:
    if figures is None:
        return dict.fromkeys(('total', 'used', 'free'))
    unit = figures.f_frsize
    return {
        'total': figures.f_blocks * unit,
        'used': (figures.f_blocks - figures.f_bfree) * unit,
        'free': figures.f_bavail * unit,
    }


def _visible(lines: Iterable[str]) -> list[Mount]:
    """Return the mounts; of several on one mount point the last hides the others."""
    mounts: dict[str, Mount] = {}
    for line in lines:
        mount = Mount(line)
        mounts.pop(mount.mount_point, None)
        mounts[mount.mount_point] = mount
    return list(mounts.values())


def _distinct(mounts: list[Mount]) -> list[Mount]:
    """Return one mount of each filesystem: the first, of its root if there is one."""
    chosen: dict[str, Mount] = {}
    for mount in mounts:
        known = chosen.get(mount.identity)
        if known is None or (mount.is_whole and not known.is_whole):
            chosen[mount.identity] = mount
    return list(chosen.values())


def _block_types(root: str) -> set[str]:
    """Return the types that live on block devices, as far as the kernel knows now."""
    return {
        line.strip()
        for line in _read_lines(root, 'proc/filesystems')
        if not line.startswith('nodev')
    }


def _read_lines(root: str, path: str) -> list[str]:
    # The names of folders may be in any encoding.
    with open(
        os.path.join(root, path), encoding='utf-8', errors='surrogateescape'
    ) as file:
        return file.read().split('\n')[:-1]


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _text(path: str) -> str:
    """Return a path as it can be sent: what is not UTF-8 in it is replaced."""
    return path.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
