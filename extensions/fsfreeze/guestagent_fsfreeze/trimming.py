# SPDX-License-Identifier: Apache-2.0
"""Tell disks which blocks are not used."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from guestagent import extension
from guestagent_fsfreeze import calls, mounts


def trim(
    context: extension.Context,
    minimum: int,
    points: Collection[str] | None,
    never: Collection[str] = (),
    only: Collection[str] = (),
    kernel: calls.Calls | None = None,
) -> list[dict[str, Any]]:
    """Trim file systems, each once; return what became of each.

    :param points: these and the next two as in :func:`mounts.freezable`.
    :raises guestagent.errors.GuestError: it was cancelled.
    """
    kernel = kernel or calls.Calls()
    groups = mounts.freezable(mounts.read(), points, never, only)
    found = []
    for number, group in enumerate(groups.values()):
        context.check()
        context.report_progress(100 * number / len(groups), group[0].point)
        result = _trim(group, minimum, kernel)
        if result is not None:
            found.append(result)
    return found


def _trim(
    group: list[mounts.Mount], minimum: int, kernel: calls.Calls
) -> dict[str, Any] | None:
    path = group[0].point
    try:
        opened = mounts.open_(group)
    except OSError as error:
        return {'path': path, 'error': f'it cannot be opened: {error.strerror}'}
    if opened is None:
        return None
    mount, fd = opened
    try:
        trimmed, used = kernel.trim(fd, minimum)
    except OSError as error:
        if error.errno in calls.UNSUPPORTED:
            what = 'trimming is not supported'
        else:
            what = 'it cannot be trimmed'
        return {'path': mount.point, 'error': f'{what}: {error.strerror}'}
    finally:
        os.close(fd)
    return {'path': mount.point, 'trimmed': trimmed, 'minimum': used}
