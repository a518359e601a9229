# SPDX-License-Identifier: Apache-2.0
"""A program that came with the call, in memory: no file system has it.

It needs no folder that lets programs run, nobody else can read or change it, and it is
gone when the last process that runs it has ended, whatever becomes of the agent.
"""

from __future__ import annotations

import errno
import fcntl
import os

from guestagent import errors

#: Of Linux 6.3, where the file may be run only if that is asked for.
_MFD_EXEC = 0x10

_SEALS = (
    fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
)


def store(data: bytes, owner: int | None) -> int:
    """Return a descriptor of a file with these bytes that ``owner`` alone may run.

    :param owner: a user's number; ``None``: the agent's own.
    :raises guestagent.errors.GuestError: the guest does not let it be made.
    """
    try:
        fd = _create()
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            os.fchmod(fd, 0o500)
            if owner is not None:
                os.fchown(fd, owner, -1)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            os.close(fd)
            raise
    except OSError as error:
        hint = ''
        if error.errno == errno.EACCES:
            hint = 'programs in memory are forbidden (sysctl vm.memfd_noexec): '
        raise errors.GuestError(
            f'script: it cannot be stored: {hint}{error.strerror}'
        ) from None
    return fd


def _create() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create('script', flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create('script', flags)
