# SPDX-License-Identifier: Apache-2.0
"""What a caller is told of a file, and who owns it, by name and number."""

from __future__ import annotations

import os
import stat
from typing import Any

from guestagent_file import failures

_TYPES = {
    stat.S_IFREG: 'file',
    stat.S_IFDIR: 'folder',
    stat.S_IFLNK: 'link',
    stat.S_IFIFO: 'fifo',
    stat.S_IFSOCK: 'socket',
    stat.S_IFCHR: 'character-device',
    stat.S_IFBLK: 'block-device',
}


def describe(found: os.stat_result) -> dict[str, Any]:
    """Return what stat(2) has found; times in nanoseconds since 1970."""
    return {
        'type': _TYPES.get(stat.S_IFMT(found.st_mode), 'unknown'),
        'size': found.st_size,
        'permissions': stat.S_IMODE(found.st_mode),
        'user': found.st_uid,
        'group': found.st_gid,
        'modified': found.st_mtime_ns,
        'changed': found.st_ctime_ns,
        'accessed': found.st_atime_ns,
        'device': found.st_dev,
        'inode': found.st_ino,
        'links': found.st_nlink,
    }


def user_number(user: str | int | None) -> int | None:
    """Return the number of a user, given by name or number.

    :raises guestagent.errors.InvalidArgument: there is none.
    """
    if user is None or isinstance(user, int):
        return _number(user, 'user')
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise failures.invalid(f'there is no user {user!r}') from None


def group_number(group: str | int | None) -> int | None:
    """Return the number of a group, given by name or number.

    :raises guestagent.errors.InvalidArgument: there is none.
    """
    if group is None or isinstance(group, int):
        return _number(group, 'group')
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise failures.invalid(f'there is no group {group!r}') from None


def permissions(value: int | None) -> int | None:
    """Return permissions that chmod(2) takes.

    :raises guestagent.errors.InvalidArgument: they are none.
    """
    if value is not None and not 0 <= value <= 0o7777:
        raise failures.invalid(f'permissions: {value} is not within 0 and 0o7777')
    return value


def _number(value: int | None, name: str) -> int | None:
    # The last number means none to chown(2).
    if value is not None and not 0 <= value < 2**32 - 1:
        raise failures.invalid(f'{name}: {value} is no number of one')
    return value
