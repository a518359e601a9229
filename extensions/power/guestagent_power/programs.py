# SPDX-License-Identifier: Apache-2.0
"""Runs the system's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from guestagent import errors

#: What a program gets of the agent's environment: where the bus of D-Bus is.
_KEPT = ('DBUS_SYSTEM_BUS_ADDRESS',)


def find(name: str, path: str) -> str | None:
    """Return where a program is, or ``None``; ``path`` is a ``PATH``."""
    return shutil.which(name, path=path)


def run(
    argv: Sequence[str], path: str, text: str = '', seconds: float | None = 30
) -> str:
    """Run a program that reads ``text`` to its end, and return its output.

    :param path: its ``PATH``.
    :param seconds: after which it is killed; ``None``: never.
    :raises guestagent.errors.GuestError: it cannot be run, failed, or did not end.
    """
    name = os.path.basename(argv[0])
    try:
        done = subprocess.run(
            argv,
            input=text,
            cwd='/',
            env={
                'PATH': path,
                'LC_ALL': 'C.UTF-8',
                **{key: os.environ[key] for key in _KEPT if key in os.environ},
            },
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            timeout=seconds,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise errors.GuestError(f'{name} did not end within {seconds:g} s') from None
    except OSError as error:
        raise errors.GuestError(
            f'{name} cannot be run: {os.strerror(error.errno or 0)}'
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).rpartition('\n')[2]
        how = f'exit code {done.returncode}'
        raise errors.GuestError(f'{name} failed: {said or how}')
    return done.stdout
