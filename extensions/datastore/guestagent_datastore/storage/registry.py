# SPDX-License-Identifier: Apache-2.0
"""Finding storages by the names of their entry points."""

from __future__ import annotations

import importlib.metadata

from guestagent import errors
from guestagent_datastore.storage import base

GROUP = 'guestagent.datastore.storages'


def connect(target: base.Target) -> base.Storage:
    """Make the storage that a target names.

    :raises guestagent.errors.InvalidArgument: there is none of this name, or the
        target makes no sense to it.
    """
    found = {
        entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)
    }
    if target.storage not in found:
        raise errors.InvalidArgument(
            f'storage: {target.storage!r} is not one of {", ".join(sorted(found))}'
        )
    kind: type[base.Storage] = found[target.storage].load()
    return kind(target)
