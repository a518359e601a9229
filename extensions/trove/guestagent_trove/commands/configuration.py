# SPDX-License-Identifier: Apache-2.0
"""Overrides and the base configuration, and the volume."""

from __future__ import annotations

from typing import Any

from guestagent import extension
from guestagent_trove import base, shapes


class Configuration(base.Base):
    """What Trove's configuration groups and resizes need."""

    @extension.command(mutates=True, timeout=180)
    def update_overrides(
        self,
        context: extension.Context,
        overrides: dict[str, Any] | None,
        remove: bool = False,
    ) -> None:
        """Keep overrides, which count after ``apply_overrides`` or a restart.

        ``remove``: forget all that were kept before.
        """
        if remove:
            self.ask('config_reset', context, apply=False)
        if overrides:
            self.ask('config_set', context, overrides=overrides, apply=False)

    @extension.command(mutates=True, timeout=180)
    def apply_overrides(
        self, context: extension.Context, overrides: dict[str, Any] | None = None
    ) -> None:
        """Have the running server take overrides, where it can."""
        if overrides:
            self.ask('config_set', context, overrides=overrides, apply=True)
        else:
            self.ask('config_apply', context)

    @extension.command(mutates=True, timeout=180, sensitive=('configuration',))
    def reset_configuration(
        self, context: extension.Context, configuration: dict[str, Any]
    ) -> None:
        """Write another base configuration, ``{'config_contents': text}``."""
        config = configuration.get('config_contents') or ''
        self.ask('configure', context, config=config)

    @extension.command(mutates=False, timeout=15)
    def get_filesystem_stats(
        self, context: extension.Context, fs_path: str | None = None
    ) -> dict[str, Any]:
        """Return how full the volume is."""
        return shapes.stats_out(self.ask('volume_stats', context, path=fs_path or ''))

    @extension.command(mutates=True, timeout=600)
    def mount_volume(
        self,
        context: extension.Context,
        device_path: str | None = None,
        mount_point: str | None = None,
        write_to_fstab: bool = False,
    ) -> None:
        """Mount a volume."""
        self.ask(
            'volume_mount',
            context,
            device_path=device_path or '',
            mount_point=mount_point or '',
        )

    @extension.command(mutates=True, timeout=180)
    def unmount_volume(
        self,
        context: extension.Context,
        device_path: str | None = None,
        mount_point: str | None = None,
    ) -> None:
        """Unmount a volume."""
        self.ask('volume_unmount', context, mount_point=mount_point or '')

    @extension.command(mutates=True, timeout=600)
    def resize_fs(
        self,
        context: extension.Context,
        device_path: str | None = None,
        mount_point: str | None = None,
        online: bool = False,
    ) -> None:
        """Let the file system fill its device."""
        self.ask(
            'volume_resize',
            context,
            device_path=device_path or '',
            mount_point=mount_point or '',
            online=online,
        )
