# SPDX-License-Identifier: Apache-2.0
"""Backups, and what frames a snapshot of the volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_trove import base, shapes
from guestagent_trove.commands import storing


class Backups(storing.Storing, base.Base):
    """The commands of backups."""

    # Repeatable, so that what was accepted before a crash comes back and is told.
    @extension.command(mutates=True, timeout=None, repeatable=True)
    def create_backup(
        self, context: extension.Context, backup_info: dict[str, Any]
    ) -> None:
        """Make a backup; the conductor is told what becomes of it."""
        with self.telling(context, backup_info['id']):
            try:
                if 'auth_token' not in context.values:
                    raise errors.Interrupted(base.CUT_SHORT)
                self.back_up(context, backup_info)
            except BaseException:
                self.conductor.update_backup(
                    backup_info['id'], state='FAILED', success=False
                )
                raise

    def back_up(self, context: extension.Context, info: Mapping[str, Any]) -> None:
        """Make a backup and tell how far it is.

        :raises guestagent.errors.GuestAgentError: it failed; that was not told.
        """
        parent = info.get('parent') or {}
        used = shapes.gigabytes(self.ask('volume_stats', context)['used'])
        kind = 'incremental' if parent else 'full'
        self.conductor.update_backup(
            info['id'], state='BUILDING', size=used, backup_type=kind
        )
        storage = self.storage(info)
        made = self.ask(
            'backup_create',
            context,
            backup_id=info['id'],
            parent=dict(parent) or None,
            storage=storage,
            target=self.target(
                context, storage, info.get('swift_url'), info.get('swift_container')
            ),
        )
        checksum = made['checksum']
        self.conductor.update_backup(
            info['id'],
            state='COMPLETED',
            size=used,
            location=made['location'],
            # What does not fit would cost the whole message.
            checksum=checksum if len(checksum) <= storing.CHECKSUM_MAX else None,
            backup_type=made.get('type') or kind,
            success=True,
        )

    @extension.command(mutates=True, timeout=180)
    def pre_create_backup(self, context: extension.Context) -> dict[str, Any]:
        """Freeze the volume, for a snapshot of it."""
        self.ask('snapshot_begin', context)
        return {}

    @extension.command(mutates=True, timeout=180)
    def post_create_backup(self, context: extension.Context) -> dict[str, Any]:
        """Thaw it; a snapshot that took too long is worth nothing, and an error.

        :raises guestagent.errors.GuestError: the volume thawed before.
        """
        if not self.ask('snapshot_end', context)['held']:
            raise errors.GuestError(
                'the snapshot took longer than the volume may be frozen: it holds no '
                'whole data'
            )
        return {}
