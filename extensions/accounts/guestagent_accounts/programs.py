# SPDX-License-Identifier: Apache-2.0
"""Runs the system's own programs; what they are told stands in no list of processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from guestagent import errors

#: Seconds after which a program is killed.
_SECONDS = 30


def find(name: str, path: str) -> str | None:
    """Return where a program is, or ``None``; ``path`` is a ``PATH``."""
    return shutil.which(name, path=path)


def run(argv: Sequence[str], path: str, data: bytes = b'') -> tuple[int, str]:
    """Run a program that reads ``data`` to its end.

    :param path: its ``PATH``.
    :returns: its exit code, and the last line of its errors.
    :raises guestagent.errors.GuestError: it cannot be run, or did not end.
    """
    name = os.path.basename(argv[0])
    try:
        done = subprocess.run(
            argv,
            input=data,
            cwd='/',
            env={'PATH': path, 'LC_ALL': 'C.UTF-8'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise errors.GuestError(f'{name} did not end within {_SECONDS} s') from None
    except OSError as error:
        raise errors.GuestError(
            f'{name} cannot be run: {os.strerror(error.errno or 0)}'
        ) from None
    said = done.stderr.decode('utf-8', 'replace').strip().rpartition('\n')[2]
    return done.returncode, said
