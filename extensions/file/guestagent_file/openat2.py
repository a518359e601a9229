# SPDX-License-Identifier: Apache-2.0
"""The system call openat2 (Linux 5.6), for which Python has no function."""

from __future__ import annotations

import ctypes
import os

#: Refuse the links of /proc, which lead to what no name does.
NO_MAGICLINKS = 0x02
#: Refuse what leads out of the folder, absolute links too.
BENEATH = 0x08
#: Let the folder be the root, for absolute links and ``..`` too.
IN_ROOT = 0x10

#: The number of the call, on all architectures but Alpha.
_NUMBER = 437

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ('flags', ctypes.c_uint64),
        ('mode', ctypes.c_uint64),
        ('resolve', ctypes.c_uint64),
    )


def open_beneath(folder: int, path: bytes, flags: int, resolve: int) -> int:
    """Open a path below a folder, and return the descriptor.

    :raises OSError: as open(2); EXDEV: it leads out; ELOOP: through a magic link;
        EAGAIN: something was renamed meanwhile; ENOSYS: the kernel is older.
    """
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    descriptor = _libc.syscall(
        _NUMBER, folder, path, ctypes.byref(how), ctypes.sizeof(how)
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


def is_available() -> bool:
    """Whether the kernel has the call, and lets us use it."""
    try:
        os.close(open_beneath(-100, b'/', os.O_PATH, 0))  # -100: AT_FDCWD
    except OSError:
        return False
    return True
