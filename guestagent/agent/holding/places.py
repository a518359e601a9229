# SPDX-License-Identifier: Apache-2.0
"""On which device something lies, as the kernel names that of a file system.

That is the ``major:minor`` of ``/proc/self/mountinfo``.  What stat() says of a file is
another on a btrfs.
"""

from __future__ import annotations

import os


def device(path: str) -> str:
    """Return that of the file system that holds a path.

    :raises OSError: there is no such path.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return device_of(fd)
    finally:
        os.close(fd)


def device_of(fd: int) -> str:
    """Return that of the file system that holds what is open.

    :raises OSError: the kernel does not say it.
    """
    mount = ''
    with open(f'/proc/self/fdinfo/{fd}', encoding='ascii') as file:
        for line in file:
            if line.startswith('mnt_id:'):
                mount = line.split()[1]
    with open('/proc/self/mountinfo', encoding='utf-8', errors='replace') as file:
        for line in file:
            number, _, found = line.split(' ', 3)[:3]
            if number == mount:
                return found
    seen = os.fstat(fd).st_dev
    return f'{os.major(seen)}:{os.minor(seen)}'


def existing(path: str) -> str:
    """Return a path, or the nearest folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or '/'
    return path
