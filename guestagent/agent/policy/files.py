# SPDX-License-Identifier: Apache-2.0
"""Read the policy's file, if nobody else may write it."""

from __future__ import annotations

import os
import stat

from guestagent import errors
from guestagent.agent.policy import rules, text

#: A larger file is a mistake, in bytes.
SIZE_MAX = 1024 * 1024


def load(path: str, trust: bool = False) -> rules.Policy:
    """Return the policy in a file.

    :param trust: read it whoever may have written it.
    :raises guestagent.errors.ConfigError: it cannot be read, others may write it, or
        there is a mistake in it.
    """
    try:
        # Not blocking: what is no file is refused, and may be a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, 'rb') as file:
            _judge(os.fstat(fd), path, trust)
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise errors.ConfigError(f'{path}: {error.strerror or error}') from None
    if len(data) > SIZE_MAX:
        raise errors.ConfigError(f'{path}: it has more than {SIZE_MAX} bytes')
    try:
        return text.parse(data.decode(), path)
    except UnicodeDecodeError as error:
        raise errors.ConfigError(f'{path}: it is not UTF-8 text: {error}') from None


def _judge(found: os.stat_result, path: str, trust: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise errors.ConfigError(f'{path}: it is not a file')
    if trust:
        return
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.ConfigError(
            f'{path}: others than its owner may write it; chmod go-w {path}'
        )
    if found.st_uid not in (0, os.geteuid()):
        raise errors.ConfigError(
            f'{path}: it belongs to user {found.st_uid}; it must be that of root or of '
            f'the agent'
        )
