# SPDX-License-Identifier: Apache-2.0
"""CPUs; see the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu."""

from __future__ import annotations

import os
from typing import Any

from guestagent import errors
from guestagent_hardware import sysfs


def listed(folder: str) -> list[dict[str, Any]]:
    """Return ``{id, online, can_offline}`` of each CPU, by number.

    One that cannot be taken off line has no file that says whether it is on line.

    :param folder: ``/sys/devices/system/cpu``.
    :raises guestagent.errors.GuestError: they cannot be read.
    """
    found = []
    try:
        for number in sysfs.numbers(folder, 'cpu'):
            online = _online(folder, number)
            found.append(
                {
                    'id': number,
                    'online': online is not False,
                    'can_offline': online is not None,
                }
            )
    except OSError as error:
        raise errors.GuestError(
            f'the CPUs cannot be read: {os.strerror(error.errno or 0)}'
        ) from None
    return found


def switch(folder: str, number: int, online: bool) -> None:
    """Take a CPU on line or off line; one that is so already is left alone.

    :raises guestagent.errors.InvalidArgument: there is no such CPU, or this one is
        always on line.
    :raises guestagent.errors.GuestError: the kernel refuses.
    """
    try:
        now = _online(folder, number)
        if now is None:
            os.stat(f'{folder}/cpu{number}')
    except FileNotFoundError as error:
        raise errors.InvalidArgument(
            f'cpus: there is no CPU {number}: {error.strerror}'
        ) from None
    except OSError as error:
        raise errors.GuestError(f'CPU {number}: {error.strerror}') from None
    if now is None and not online:
        raise errors.InvalidArgument(f'cpus: CPU {number} cannot be taken off line')
    if now is None or now == online:
        return
    try:
        sysfs.write(f'{folder}/cpu{number}/online', '1' if online else '0')
    except OSError as error:
        raise errors.GuestError(
            f'CPU {number} cannot be taken {"on" if online else "off"} line: '
            f'{error.strerror}'
        ) from None


def _online(folder: str, number: int) -> bool | None:
    """Return whether a CPU is on line; ``None``: nothing can change that."""
    try:
        return sysfs.read(f'{folder}/cpu{number}/online') != '0'
    except FileNotFoundError:
        return None
