# SPDX-License-Identifier: Apache-2.0
"""Asks a program of the guest, in a bounded time and behind everybody else's work."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

#: The program's own words must not be translated.
_ENVIRONMENT = {'LC_ALL': 'C.UTF-8', 'LANG': 'C.UTF-8'}


def find(name: str) -> str | None:
    """Return the path of a program, ``None`` where there is none."""
    import shutil

    return shutil.which(name)


def ask(
    command: Sequence[str], timeout: float, expected: Collection[int] = (0,)
) -> str:
    """Run a program and return what it says.

    :param timeout: seconds until it is killed.
    :param expected: the exit statuses of one that could tell.
    :raises OSError: it cannot be started, fails, or does not end in time.
    """
    import subprocess

    try:
        done = subprocess.run(
            ['nice', *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **_ENVIRONMENT},
            timeout=timeout,
            check=False,
            encoding='utf-8',
            errors='replace',
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f'{command[0]} has not ended within {timeout:g} seconds'
        ) from None
    if done.returncode not in expected:
        said = done.stderr.strip().splitlines()[-1:] or ['it says nothing']
        raise OSError(f'{command[0]} has failed ({done.returncode}): {said[0]}')
    return done.stdout
