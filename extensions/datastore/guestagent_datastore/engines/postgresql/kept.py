# SPDX-License-Identifier: Apache-2.0
"""What the engine must know and the server cannot tell: one small file on the volume.

Its configuration files are made from this, so that a guest that is made anew from the
volume has the same server.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from guestagent_datastore import files, models


@dataclasses.dataclass(slots=True)
class State:
    """What is kept.

    :ivar memory: MiB that the server may count on; 0: the machine's.
    :ivar overrides: parameters that a caller has set.
    :ivar hosts: of users that may not come from everywhere; the server keeps them with
        its users, this is for the time when it does not run.
    :ivar read_only: whether writes are refused.
    :ivar general_log: whether statements are logged.
    :ivar tls: ``{certificate, key, ca, required}``; empty: no TLS.
    :ivar is_source: whether the server was made a source.
    :ivar source: of a replica: ``{host, port, user, password, slot, tls, ca}``.
    :ivar replica_password: of the account for replicas.
    :ivar wal_kept: the LSN from which on WAL is kept for a backup that follows.
    """

    memory: int = 0
    overrides: dict[str, models.Value] = dataclasses.field(default_factory=dict)
    hosts: dict[str, str] = dataclasses.field(default_factory=dict)
    read_only: bool = False
    general_log: bool = False
    tls: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    is_source: bool = False
    source: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    replica_password: str = dataclasses.field(default='', repr=False)
    wal_kept: str = ''


def load(folder: pathlib.Path) -> State:
    """Return what is kept in this folder."""
    text = files.read(folder / 'postgresql.json')
    return State(**json.loads(text)) if text else State()


def save(folder: pathlib.Path, state: State) -> None:
    """Keep it, readable by the agent alone.

    :raises guestagent.errors.StorageError: it cannot be written.
    """
    text = json.dumps(dataclasses.asdict(state))
    files.write(folder / 'postgresql.json', text, mode=0o600)
