# SPDX-License-Identifier: Apache-2.0
"""Disks and partitions: what they are, where they are, what they are made of."""

from __future__ import annotations

from typing import Any

from guestagent_monitoring import files
from guestagent_monitoring.collectors import blocks

#: The kernel's unit in /sys, whatever the disk's own is.
_SECTOR = 512


def disks(root: str = '/') -> list[dict[str, Any]]:
    """Return the disks, each followed by its partitions, by name.

    Each is ``{name, partition, dependencies, address, alias, serial, size, read_only,
    removable, model}``.  ``name`` is the path of its file; ``dependencies`` are
    those of the devices that it lies on; ``address`` is that of
    :func:`.blocks.address`, ``None`` for a partition and for what is not hardware;
    ``alias`` is the name that device mapper has for it.  What has no size (an empty
    drive, a loop device without a file) is left out.
    """
    found = []
    for name in sorted(
        files.read_names(root, 'sys/class/block'),
        key=lambda name: (blocks.disk_name(root, name), len(name), name),
    ):
        size = int(files.read_first(blocks.folder(root, name), 'size') or 0)
        if size and not name.startswith('ram'):
            found.append(_describe(root, name, size * _SECTOR))
    return found


def disk_serials(root: str = '/') -> dict[str, str]:
    """Return ``{serial: path}`` of the disks that have a serial number."""
    found = {}
    for name in files.read_names(root, 'sys/class/block'):
        if blocks.disk_name(root, name) == name and not blocks.is_virtual(root, name):
            serial = blocks.serials(root, name)[0]
            if serial is not None:
                found[serial] = blocks.device_path(name)
    return found


def _describe(root: str, name: str, size: int) -> dict[str, Any]:
    path = blocks.folder(root, name)
    disk = blocks.disk_name(root, name)
    partition = disk != name
    address = None
    if not partition and not blocks.is_virtual(root, name):
        address = blocks.address(root, name)
    parts = [disk] if partition else blocks.parts_of(root, name)
    return {
        'name': blocks.device_path(name),
        'partition': partition,
        'dependencies': [blocks.device_path(part) for part in parts],
        'address': address,
        'alias': files.read_first(path, 'dm/name'),
        'serial': address and address['serial'],
        'size': size,
        'read_only': files.read_first(path, 'ro') == '1',
        'removable': files.read_first(path, 'removable') == '1',
        'model': files.read_first(path, 'device/model'),
    }
