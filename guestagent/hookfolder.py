# SPDX-License-Identifier: Apache-2.0
"""The programs of a folder that are run when something happens.

What others than root and this user could change is not run: it would do what they want
with the rights of the agent.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple


class Found(NamedTuple):
    """What is in a folder.

    :ivar programs: the paths of those that may be run, by their names.
    :ivar refused: in a sentence each, what is not run, and why.
    """

    programs: list[str]
    refused: list[str]


def find(folder: str) -> Found:
    """Return the executable files; none if there is no such folder.

    Names that begin with a dot are passed over, and links are followed.  A folder that
    others could change is refused as a whole, but only if there is something to run.
    """
    try:
        names = sorted(os.listdir(folder))
        about = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return Found([], [])
    except OSError as error:
        return Found([], [f'hooks: {folder}: {error.strerror}'])
    programs, refused = [], []
    for name in names:
        path = os.path.join(folder, name)
        owned = None if name.startswith('.') else _is_owned(path)
        if owned:
            programs.append(path)
        elif owned is not None:
            refused.append(f'hook {path} could be changed by others: it is not run')
    if (programs or refused) and not _is_ours(about):
        return Found([], [f'hooks: {folder} could be changed by others: none is run'])
    return Found(programs, refused)


def _is_owned(path: str) -> bool | None:
    """Whether nobody else could change a program; ``None``: it is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None  # a link to nothing, or it was removed just now
    if not stat.S_ISREG(about.st_mode) or not os.access(path, os.X_OK):
        return None
    return _is_ours(about)


def _is_ours(about: os.stat_result) -> bool:
    mine = about.st_uid in (0, os.geteuid())
    return mine and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
