# SPDX-License-Identifier: Apache-2.0
"""Every mount of what stores something, and the disks that its content is on."""

from __future__ import annotations

import os
from typing import Any

from guestagent_monitoring.collectors import blocks, filesystems


def mounts(root: str = '/') -> list[dict[str, Any]]:
    """Return the mounts, in the kernel's order; one of a folder (bind) is one too.

    Each is ``{name, mount_point, device, type, read_only, total, total_privileged,
    used, free, disks}``.  ``name`` is the kernel's name of the block device,
    ``None`` where there is none; ``total`` is what users may fill, ``used`` and
    ``free`` together, and ``total_privileged`` what root may, in bytes; these four
    are ``None`` where asking might hang.  ``disks`` are addresses as of
    :func:`.blocks.address`; a loop device has none.
    """
    wanted, figures = filesystems.look(root)
    addresses: dict[str | None, list[dict[str, Any]]] = {None: []}
    found = []
    for mount in wanted:
        name = _device_name(root, mount)
        if name is not None and name not in addresses:
            addresses[name] = [
                blocks.address(root, disk) for disk in blocks.disks_below(root, name)
            ]
        figure = figures.get(mount.mount_point)
        found.append(
            {
                'name': name,
                **mount.describe(),
                **_amounts(figure),
                'disks': addresses[name],
            }
        )
    return found


def _amounts(figure: os.statvfs_result | None) -> dict[str, int | None]:
    if figure is None:
        return dict.fromkeys(('total', 'total_privileged', 'used', 'free'))
    unit = figure.f_frsize
    used = (figure.f_blocks - figure.f_bfree) * unit
    free = figure.f_bavail * unit
    return {
        'total': used + free,
        'total_privileged': figure.f_blocks * unit,
        'used': used,
        'free': free,
    }


def _device_name(root: str, mount: filesystems.Mount) -> str | None:
    """Return the kernel's name of a mount's device.

    The number of the filesystem is that of its device; btrfs has one of its own, so
    there the name of the device must do.
    """
    if not mount.identity.startswith('0:'):
        link = os.path.join(root, 'sys/dev/block', mount.identity)
        try:
            return os.path.basename(os.readlink(link))
        except OSError:
            return None
    if mount.is_remote or not mount.device.startswith('/dev/'):
        return None
    name = os.path.basename(os.path.realpath(os.path.join(root, mount.device[1:])))
    return name if os.path.exists(blocks.folder(root, name)) else None
