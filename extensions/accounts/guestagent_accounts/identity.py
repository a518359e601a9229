# SPDX-License-Identifier: Apache-2.0
"""Touches a user's files as that user: the kernel refuses what the user may not.

setfsuid(2) counts for one thread only, and takes root's rights over files away from it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from guestagent import errors

_NOBODY_NEW = 0xFFFFFFFF


@contextlib.contextmanager
def assumed(uid: int, gid: int, name: str) -> Iterator[None]:
    """Let this thread have a user's rights over files within the ``with`` block.

    :param name: of the user, for messages.
    :raises guestagent.errors.GuestError: the agent is neither root nor that user.
    """
    own = os.geteuid()
    if uid == own:
        yield
        return
    if own != 0:
        raise errors.GuestError(
            f'the agent does not run as root and cannot change files of {name!r}'
        )
    libc = ctypes.CDLL(None)
    for call in (libc.setfsuid, libc.setfsgid):
        call.argtypes = [ctypes.c_uint]
        call.restype = ctypes.c_uint
    try:
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        # They return what was; an id that is none changes nothing.
        if (libc.setfsuid(_NOBODY_NEW), libc.setfsgid(_NOBODY_NEW)) != (uid, gid):
            raise errors.GuestError(f'the kernel does not let root act as {name!r}')
        yield
    finally:
        libc.setfsuid(own)
        libc.setfsgid(os.getegid())
