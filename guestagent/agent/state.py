# SPDX-License-Identifier: Apache-2.0
"""The folder in which the agent keeps what must survive a crash."""

from __future__ import annotations

import os

from guestagent import errors


def prepare(folder: str) -> None:
    """Make the folder, readable by its owner only, unless it is there.

    :raises guestagent.errors.ConfigError: it cannot be made, or not be written.
    """
    try:
        # One that is there may be on a frozen disk, for which its making would wait.
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(folder, f'user {os.geteuid()} may not write there')


def _unusable(folder: str, reason: str) -> errors.ConfigError:
    return errors.ConfigError(
        f'[DEFAULT] state_dir: {folder}: {reason}; the agent keeps there what must '
        f'survive a crash: let it write there, or name another folder'
    )
