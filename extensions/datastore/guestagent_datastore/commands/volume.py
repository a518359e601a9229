# SPDX-License-Identifier: Apache-2.0
"""The data volume."""

from __future__ import annotations

import pathlib

from guestagent import errors, extension
from guestagent_datastore import base, volume


class Volume(base.Base):
    """Mounts, unmounts, resizes and measures it."""

    @extension.command(mutates=True, timeout=None)
    def volume_mount(
        self, context: extension.Context, device_path: str = '', mount_point: str = ''
    ) -> dict[str, str]:
        """Mount a volume, now and at each start; one that is blank is formatted.

        :returns: ``{device_path, mount_point}``.
        :raises guestagent.errors.InvalidArgument: there is no such device.
        """
        with self.changing('volume_mount', context):
            folder = self.mount_point(mount_point)
            device = self.device(device_path)
            if self.control.pid and not volume.device_of(folder):
                raise errors.GuestError('the server runs: stop it first')
            volume.mount(device, folder, context)
        return {'device_path': device, 'mount_point': str(folder)}

    @extension.command(mutates=True, timeout=None)
    def volume_unmount(self, context: extension.Context, mount_point: str = '') -> None:
        """Unmount a volume, for good.

        :raises guestagent.errors.GuestError: it is in use.
        """
        with self.changing('volume_unmount', context):
            volume.unmount(self.mount_point(mount_point))

    @extension.command(mutates=True, timeout=None)
    def volume_resize(
        self,
        context: extension.Context,
        device_path: str = '',
        mount_point: str = '',
        online: bool = True,
    ) -> dict[str, int]:
        """Let the file system fill its device; returns what ``volume_stats`` does.

        :raises guestagent.errors.GuestError: it cannot grow.
        """
        with self.changing('volume_resize', context):
            folder = self.mount_point(mount_point)
            if not online and self.control.pid:
                raise errors.GuestError('the server runs: stop it first')
            device = device_path or volume.device_of(folder) or self.device('')
            volume.resize(device, folder, online)
        return volume.stats(folder)

    @extension.command(mutates=False, timeout=15)
    def volume_stats(
        self, context: extension.Context, path: str = ''
    ) -> dict[str, int]:
        """Return the size of the volume, or of the file system of ``path``; in bytes.

        :raises guestagent.errors.InvalidArgument: there is no such path.
        """
        return volume.stats(self.mount_point(path))

    def mount_point(self, given: str) -> pathlib.Path:
        """Return a folder that was given, or that of the options.

        :raises guestagent.errors.InvalidArgument: it is not absolute.
        """
        if given and not given.startswith('/'):
            raise errors.InvalidArgument(f'{given!r} does not begin with /')
        return pathlib.Path(given) if given else self.engine.place.volume

    def device(self, given: str) -> str:
        """Return a device that was given, or that of the options.

        :raises guestagent.errors.InvalidArgument: neither names one.
        """
        device: str = given or self.conf.device_path
        if not device:
            raise errors.InvalidArgument(
                'device_path: none is given, nor in [datastore] device_path'
            )
        return device
