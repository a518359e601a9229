# SPDX-License-Identifier: Apache-2.0
"""Where keys come from: a file that only its owner can read, or a command."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess

from guestagent import errors
from guestagent.seal import keys

#: How long a command may take, in seconds.
COMMAND_SECONDS = 30
#: A file of keys is never larger, in bytes.
SIZE_MAX = 1024 * 1024


def read(file: str, command: str) -> list[keys.Line]:
    """Return the keys.

    :param file: a path, or ``''``.
    :param command: as a shell would split it, or ``''``.
    :raises guestagent.errors.ConfigError: they cannot be read, or are wrong.
    """
    if file and command:
        raise errors.ConfigError('[seal] key_file and key_command: set one of them')
    if command:
        return keys.parse(_run(command), '[seal] key_command: its output')
    return keys.parse(_read(file), file)


def _read(path: str) -> str:
    try:
        # No link to a device, no pipe: the program must not wait here.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, encoding='ascii') as file:
            _check(path, os.fstat(fd))
            return file.read()
    except OSError as error:
        raise errors.ConfigError(
            f'[seal] key_file: {path}: {error.strerror or error}'
        ) from None
    except UnicodeDecodeError:
        raise errors.ConfigError(f'[seal] key_file: {path}: it is not text') from None


def _check(path: str, found: os.stat_result) -> None:
    """Refuse a file that others than its owner can read or change."""
    problem = ''
    if not stat.S_ISREG(found.st_mode):
        problem = 'it is no file'
    elif found.st_uid not in (0, os.geteuid()):
        problem = f'it belongs to user {found.st_uid}: chown it to who runs this'
    elif found.st_mode & 0o077:
        problem = (
            f'its mode is {stat.S_IMODE(found.st_mode):04o}, so others than its owner '
            f'have a right to it: chmod 600'
        )
    elif found.st_size > SIZE_MAX:
        problem = 'it is too large for a file of keys'
    if problem:
        raise errors.ConfigError(f'[seal] key_file: {path}: {problem}')


def _run(command: str) -> str:
    """Return what a command prints; no error shows that, there are keys in it."""
    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        text = done.stdout.decode('ascii')
    except (OSError, ValueError) as error:
        # A ValueError: it cannot be split, or does not print text.
        reason = getattr(error, 'strerror', None) or 'it makes no sense'
    except subprocess.TimeoutExpired:
        reason = f'it did not end within {COMMAND_SECONDS} seconds'
    else:
        if done.returncode == 0:
            return text
        reason = f'it failed with {done.returncode}'
    raise errors.ConfigError(f'[seal] key_command: {reason}')
