# SPDX-License-Identifier: Apache-2.0
"""What stands on what: loop devices, device-mapper, partitions, overlays.

A file system is frozen before the one that holds its disk: its last data is written to
that one.  And it thaws after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from guestagent_fsfreeze import mounts

#: Returns the devices on which one lies at once.
Lower = Callable[[str], Collection[str]]


class Stack:
    """Devices, each by its ``major:minor``; no I/O of its own."""

    def __init__(self, lower: Lower) -> None:
        self._lower = lower
        self._below: dict[str, set[str]] = {}

    def below(self, device: str) -> set[str]:
        """Return all that a device lies on, by whatever way."""
        if device not in self._below:
            # Before the others: who lies on itself would never end.
            found = self._below[device] = set()
            for lower in self._lower(device):
                found |= {lower, *self.below(lower)}
            found.discard(device)
        return self._below[device]

    def order(self, devices: Iterable[str]) -> list[str]:
        """Return devices, each before those that it lies on; else the last first."""
        # What lies on another has below it what the other has, and the other.
        reverse = list(devices)[::-1]
        return sorted(reverse, key=lambda device: -len(self.below(device)))

    def above(self, frozen: Collection[str], others: Iterable[str]) -> list[str]:
        """Return those of the others that lie on something frozen."""
        wanted = set(frozen)
        return [device for device in others if self.below(device) & wanted]


def of_system(found: Sequence[mounts.Mount], root: str = '/sys') -> Stack:
    """Return the stack of this system.

    :param root: where sysfs is mounted.
    """
    held = _held_by_mounts(found, root)

    def lower(device: str) -> set[str]:
        return held.get(device, set()) | set(_below_block(device, found, root))

    return Stack(lower)


def _held_by_mounts(found: Iterable[mounts.Mount], root: str) -> Mapping[str, set[str]]:
    """Return the devices of file systems that have no number of their own device."""
    held: dict[str, set[str]] = {}
    for mount in found:
        devices = held.setdefault(mount.device, set())
        if mount.kind == 'btrfs':
            devices |= set(_of_btrfs(mount.source, root))
        elif mount.kind == 'overlay':
            for option in mount.options.split(','):
                name, _, value = option.partition('=')
                if name in ('upperdir', 'lowerdir', 'workdir'):
                    devices |= {
                        mounts.of_path(path, found) for path in value.split(':')
                    }
        devices.discard('')
    return held


def _of_btrfs(source: str, root: str) -> list[str]:
    """Return the devices of a btrfs of which one is known."""
    name = os.path.basename(os.path.realpath(source))
    folder = os.path.join(root, 'fs/btrfs')
    for uuid in _list(folder):
        names = _list(os.path.join(folder, uuid, 'devices'))
        if name in names:
            return [
                _read(os.path.join(root, 'class/block', one, 'dev')) for one in names
            ]
    return [_read(os.path.join(root, 'class/block', name, 'dev'))]


def _below_block(device: str, found: Sequence[mounts.Mount], root: str) -> list[str]:
    """Return what a block device lies on at once."""
    folder = os.path.realpath(os.path.join(root, 'dev/block', device))
    lower = [
        _read(os.path.join(folder, 'slaves', name, 'dev'))
        for name in _list(os.path.join(folder, 'slaves'))
    ]
    if os.path.exists(os.path.join(folder, 'partition')):
        lower.append(_read(os.path.join(os.path.dirname(folder), 'dev')))
    file = _read(os.path.join(folder, 'loop/backing_file'))
    if file:
        lower.append(mounts.of_path(file, found))
    return [each for each in lower if each]


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding='utf-8', errors='surrogateescape') as file:
            return file.read().strip('\n')
    except OSError:
        return ''
