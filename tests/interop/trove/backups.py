# SPDX-License-Identifier: Apache-2.0
"""Backups as Trove's task manager asks for them, and what its tables say of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.interop.trove import guests


class Row(NamedTuple):
    """What Trove's table has of a backup.

    :ivar size: in GB.
    """

    id: str
    state: str
    location: str | None
    checksum: str | None
    size: float | None
    kind: str | None


def add(guest: guests.Guest) -> str:
    """Make the row of a new backup, as Trove's API does; return its id."""
    made: str = guest.plane.ask('backup', instance=guest.id, storage=guest.storage)
    return made


def info(guest: guests.Guest, backup: str, parent: Row | None = None) -> dict[str, Any]:
    """Return what the task manager tells the guest of a new backup."""
    found: dict[str, Any] = {
        'id': backup,
        'name': 'b',
        'description': None,
        'instance_id': guest.id,
        'backup_type': 'incremental' if parent else 'full',
        'checksum': None,
        'parent': {},
        'datastore': 'mariadb',
        'datastore_version': '10.11',
        'storage_driver': guest.storage,
        'swift_container': None,
    }
    if parent is not None:
        found['parent'] = {'location': parent.location, 'checksum': parent.checksum}
    if guest.swift is not None:
        found['swift_url'] = guest.plane.ask('swift_url', values=guest.context())
    return found


def begin(guest: guests.Guest, parent: Row | None = None) -> str:
    """Have the guest make a backup; return its id."""
    backup = add(guest)
    guest.cast(
        'create_backup',
        'DBaaSBackupCreate',
        {'backup_id': backup},
        backup_info=info(guest, backup, parent),
    )
    return backup


def wait(guest: guests.Guest, backup: str) -> Row:
    """Wait until Trove has a backup for done or failed; return its row."""

    def ended() -> Row | None:
        [row] = guest.plane.rows(
            'select id, state, location, checksum, size, backup_type from backups '
            'where id = %s',
            backup,
        )
        found = Row(*row)
        return found if found.state in ('COMPLETED', 'FAILED') else None

    found: Row = guest.wait(ended, 'the end of the backup')
    return found


def restored_from(guest: guests.Guest, row: Row) -> dict[str, Any]:
    """Return what the task manager tells a new guest, ``prepare``'s ``backup_info``.

    :param guest: of the backup.
    """
    found = {
        'id': row.id,
        'instance_id': guest.id,
        'location': row.location,
        'type': row.kind,
        'checksum': row.checksum,
        'storage_driver': guest.storage,
    }
    if guest.swift is not None:
        found['swift_url'] = guest.plane.ask('swift_url', values=guest.context())
    return found
