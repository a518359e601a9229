# SPDX-License-Identifier: Apache-2.0
"""What is mounted, and which of it can be frozen."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple


class Mount(NamedTuple):
    """A line of ``/proc/self/mountinfo``.

    :ivar number: of the mount.
    :ivar device: ``major:minor`` of the file system.
    :ivar root: what of the file system is mounted.
    :ivar point: where.
    :ivar kind: of file system, such as ``ext4``.
    :ivar source: a device, or what the kind makes of it.
    :ivar options: of the file system.
    """

    number: int
    device: str
    root: str
    point: str
    kind: str
    source: str
    options: str


def read(path: str = '/proc/self/mountinfo') -> list[Mount]:
    """Return what is mounted, in its order.

    :raises OSError: the kernel does not say it.
    """
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        return parse(file.read())


def parse(text: str) -> list[Mount]:
    """Return the mounts of a mountinfo."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(' - ')
        number, _, device, root, point = left.split(' ')[:5]
        kind, source, options = right.split(' ', 2)
        found.append(
            Mount(
                int(number),
                device,
                _unescape(root),
                _unescape(point),
                kind,
                _unescape(source),
                options,
            )
        )
    return found


def _unescape(text: str) -> str:
    return re.sub(r'\\([0-7]{3})', lambda found: chr(int(found[1], 8)), text)


def freezable(
    mounts: Iterable[Mount],
    points: Collection[str] | None = None,
    never: Collection[str] = (),
    only: Collection[str] = (),
) -> dict[str, list[Mount]]:
    """Return what can be frozen: by device, each with its mounts, the best first.

    What lies on no device of its own (major 0, but for btrfs) and what cannot be
    written to are left out.

    :param points: mount points of which one is enough; ``None``: all.
    :param never: mount points of which none may be among those of a device.
    :param only: mount points of which one must be, if there are any.
    """
    mounts = list(mounts)
    barred = {mount.device for mount in mounts if mount.point in never}
    found: dict[str, list[Mount]] = {}
    for mount in mounts:
        local = not mount.device.startswith('0:') or mount.kind == 'btrfs'
        if local and 'ro' not in mount.options.split(','):
            found.setdefault(mount.device, []).append(mount)
    return {
        device: sorted(group, key=lambda mount: mount.root != '/')
        for device, group in found.items()
        if device not in barred
        and (points is None or any(mount.point in points for mount in group))
        and (not only or any(mount.point in only for mount in group))
    }


def open_(group: Iterable[Mount]) -> tuple[Mount, int] | None:
    """Open one of the mount points of a file system.

    Another mount may hide one, or it may lie in a folder that is hidden.

    :returns: the mount, and a descriptor; ``None``: all are hidden.
    :raises OSError: none can be opened.
    """
    fault = None
    for mount in group:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(mount.point, flags)
        except OSError as error:
            fault = error
            continue
        if _number_of(fd) == mount.number:
            return mount, fd
        os.close(fd)
    if fault is not None:
        raise fault
    return None


def _number_of(fd: int) -> int:
    with open(f'/proc/self/fdinfo/{fd}', encoding='ascii') as file:
        for line in file:
            if line.startswith('mnt_id:'):
                return int(line.split()[1])
    return -1


def of_path(path: str, mounts: Iterable[Mount]) -> str:
    """Return the device of the file system that holds a path; ``''``: nobody knows."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ''
    try:
        number = _number_of(fd)
    finally:
        os.close(fd)
    return next((mount.device for mount in mounts if mount.number == number), '')
