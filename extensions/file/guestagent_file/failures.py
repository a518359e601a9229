# SPDX-License-Identifier: Apache-2.0
"""What a caller is told of a system call that failed.

Each message ends with a colon, a space, and the system's own words for what is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from guestagent import errors

#: What the caller can mend by another argument.
_CALLERS = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.ENXIO,
        errno.ESPIPE,
        errno.EXDEV,
        errno.EBADF,
    )
)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn a failed system call within into an error for the caller.

    :param what: what was tried, as ``cannot open '/etc/motd'``.
    :raises guestagent.errors.InvalidArgument: another argument could help.
    :raises guestagent.errors.GuestError: the guest cannot do it.
    """
    try:
        yield
    except OSError as error:
        raise explained(what, error) from None


def explained(what: str, error: OSError) -> errors.GuestAgentError:
    """Return what a failed system call is for a caller."""
    kind = errors.InvalidArgument if error.errno in _CALLERS else errors.GuestError
    return kind(f'{what}: {error.strerror or error}')


def invalid(what: str, code: int = errno.EINVAL) -> errors.InvalidArgument:
    """Return the error for an argument that makes no sense."""
    return errors.InvalidArgument(f'{what}: {os.strerror(code)}')


def refused(what: str) -> errors.Refused:
    """Return the error for a path that is out of reach."""
    return errors.Refused(f'{what}: {os.strerror(errno.EACCES)}')
