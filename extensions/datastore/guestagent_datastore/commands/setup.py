# SPDX-License-Identifier: Apache-2.0
"""From nothing to a server, and to a newer one."""

from __future__ import annotations

from typing import Any

from guestagent import errors, extension
from guestagent_datastore import files, packages, volume
from guestagent_datastore.commands import life
from guestagent_datastore.commands import volume as volumes


class Setup(life.Life, volumes.Volume):
    """Installs, upgrades, and goes on in a new guest."""

    @extension.command(mutates=True, timeout=None, repeatable=True)
    def install(
        self, context: extension.Context, packages: list[str] | None = None
    ) -> dict[str, str]:
        """Install packages by apt, the engine's own if none are named.

        :returns: ``{version}``, the server's.
        """
        with self.changing('install', context):
            self.install_packages(packages, context)
            return {'version': self.engine.version()}

    @extension.command(mutates=True, timeout=None)
    def upgrade(
        self, context: extension.Context, packages: list[str] | None = None
    ) -> dict[str, str]:
        """Install the newest minor version of the server, and bring the data to it.

        :returns: ``{before, after}``, versions.
        """
        with self.changing('upgrade', context):
            before = self.engine.version()
            self.control.pause(context)
            try:
                self._upgrade(packages, context)
            finally:
                # The old one goes on where the new one could not be installed.
                self.control.start(context)
            self.step(context, 90, 'bringing the data to the new version')
            self.engine.upgraded()
            return {'before': before, 'after': self.engine.version()}

    @extension.command(mutates=True, timeout=None, sensitive=('return',))
    def upgrade_save(self, context: extension.Context) -> dict[str, Any]:
        """Stop the server; return what a new guest needs to go on with its volume."""
        with self.changing('upgrade_save', context):
            self.control.stop(context)
            saved = {
                path.name: files.read(path)
                for path in sorted(self.engine.place.config.iterdir())
                if path.is_file()
            }
        return {'engine': self.engine.name, 'files': saved}

    @extension.command(mutates=True, timeout=None, sensitive=('saved',))
    def upgrade_resume(
        self,
        context: extension.Context,
        saved: dict[str, Any],
        device_path: str = '',
        mount_point: str = '',
    ) -> dict[str, Any]:
        """Go on in a new guest with the volume and what ``upgrade_save`` returned.

        :raises guestagent.errors.InvalidArgument: that is of another engine.
        """
        with self.changing('upgrade_resume', context):
            if saved.get('engine') != self.engine.name:
                raise errors.InvalidArgument(f'saved: not of {self.engine.name}')
            if device_path:
                self.mount_volume(device_path, mount_point, context)
            self.engine.prepare_folders()
            for name, text in saved.get('files', {}).items():
                if '/' in name or not isinstance(text, str):
                    raise errors.InvalidArgument(f'saved: {name!r} is no file')
                files.write(self.engine.place.config / name, text)
            self.engine.configure()
            self.control.start(context)
            self.engine.upgraded()
        return self.status(context)

    def install_packages(
        self, names: list[str] | None, context: extension.Context
    ) -> None:
        """Install packages, the engine's own if none are named."""
        self.step(context, 0, 'installing packages')
        packages.install(names or self.engine.packages, context)
        self._version = ''

    def _upgrade(self, names: list[str] | None, context: extension.Context) -> None:
        self.step(context, 20, 'installing packages')
        packages.upgrade(names or self.engine.upgrade_packages(), context)
        self._version = ''

    def mount_volume(
        self, device_path: str, mount_point: str, context: extension.Context
    ) -> None:
        """Mount the server's volume."""
        self.step(context, 10, 'mounting the volume')
        folder = self.mount_point(mount_point)
        if folder != self.engine.place.volume:
            raise errors.InvalidArgument(
                f'mount_point: {folder} is not {self.engine.place.volume} '
                f'([datastore] mount_point)'
            )
        if not volume.device_of(folder):
            # What is there moves to the volume.
            self.control.stop(context)
        volume.mount(device_path, folder, context)

    @staticmethod
    def step(context: extension.Context, percent: float, text: str) -> None:
        """Say how far the command is, unless nobody waits for it any more."""
        context.check()
        context.report_progress(percent, text)
