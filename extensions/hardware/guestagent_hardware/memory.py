# SPDX-License-Identifier: Apache-2.0
"""Blocks of memory; the kernel's Documentation/admin-guide/mm/memory-hotplug.rst."""

from __future__ import annotations

import os
from typing import Any

from guestagent import errors
from guestagent_hardware import sysfs


def listed(folder: str) -> list[dict[str, Any]]:
    """Return ``{index, online, can_offline}`` of each block, by number.

    A kernel that cannot change its memory has none.

    :param folder: ``/sys/devices/system/memory``.
    :raises guestagent.errors.GuestError: they cannot be read.
    """
    if not os.path.exists(folder):
        return []
    try:
        return [
            {
                'index': number,
                'online': sysfs.read(f'{folder}/memory{number}/state') == 'online',
                'can_offline': _removable(f'{folder}/memory{number}'),
            }
            for number in sysfs.numbers(folder, 'memory')
        ]
    except OSError as error:
        raise errors.GuestError(
            f'the blocks of memory cannot be read: {os.strerror(error.errno or 0)}'
        ) from None


def switch(folder: str, number: int, online: bool) -> dict[str, Any]:
    """Take a block on line or off line; one that is so already is left alone.

    :returns: ``{index, response}``, and ``error_code``, the errno, where the kernel
        gave one.  The response is ``success``, ``not-found`` (there is no such block),
        ``operation-not-supported`` (the kernel cannot change it) or
        ``operation-failed``.
    """
    block = f'{folder}/memory{number}'
    if not os.path.exists(folder):
        return _answer(number, 'operation-not-supported')
    try:
        os.stat(block)
    except OSError as error:
        return _answer(number, 'not-found', error)
    try:
        is_online = sysfs.read(f'{block}/state') == 'online'
        if is_online != online:
            sysfs.write(f'{block}/state', 'online' if online else 'offline')
    except FileNotFoundError as error:
        return _answer(number, 'operation-not-supported', error)
    except OSError as error:
        return _answer(number, 'operation-failed', error)
    return _answer(number, 'success')


def block_size(folder: str) -> int:
    """Return the size of a block in bytes.

    :raises guestagent.errors.GuestError: the kernel has no blocks.
    """
    try:
        return int(sysfs.read(f'{folder}/block_size_bytes'), 16)
    except OSError as error:
        raise errors.GuestError(
            f'the size of a block of memory cannot be read: {error.strerror}'
        ) from None
    except ValueError:
        raise errors.GuestError('the kernel gives no size of its blocks of memory')


def _removable(block: str) -> bool:
    try:
        return sysfs.read(f'{block}/removable') != '0'
    except FileNotFoundError:
        return False


def _answer(number: int, response: str, error: OSError | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {'index': number, 'response': response}
    if error is not None and error.errno is not None:
        answer['error_code'] = error.errno
    return answer
