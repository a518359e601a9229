# SPDX-License-Identifier: Apache-2.0
"""Hold the server and its volume still while somebody else takes a snapshot of it."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base, files, freeze, volume

LOG = logging.getLogger(__name__)

#: The longest that a volume may be held, in seconds.
LIMIT_MAX = 600.0


class Snapshots(base.Base):
    """Freezes and thaws the volume."""

    _frozen: freeze.Frozen | None = None

    def start(self) -> None:
        """Thaw what an agent before this one has left frozen."""
        super().start()
        left = files.read(self._frozen_file)
        if left:
            LOG.warning('%s was left frozen: thawing it', left)
            freeze.thaw(pathlib.Path(left))
            self._frozen_file.unlink()
            self.release_storage()

    def stop(self) -> None:
        """Thaw: nobody could end it any more."""
        frozen = self._frozen
        if frozen is not None:
            frozen.end()
        super().stop()

    @extension.command(mutates=True, timeout=90)
    def snapshot_begin(
        self, context: extension.Context, limit: float = 60
    ) -> dict[str, Any]:
        """Let the server write nothing more and freeze the volume's file system.

        :param limit: seconds after which it thaws by itself.
        :returns: ``{mount_point, device_path}``.
        :raises guestagent.errors.GuestError: the data is on no volume of its own, or
            it is frozen already.
        """
        if not 0 < limit <= LIMIT_MAX:
            raise errors.InvalidArgument(f'limit: {limit:g} is not 0 to {LIMIT_MAX:g}')
        with self.changing('snapshot_begin', context):
            mount_point = self.engine.place.volume
            device = volume.device_of(mount_point)
            if not device:
                raise errors.GuestError(f'{mount_point} is no volume of its own')
            self._frozen_file.write_text(str(mount_point))
            try:
                self._hold(mount_point, limit)
            except errors.GuestError:
                self._frozen_file.unlink()
                raise
        return {'mount_point': str(mount_point), 'device_path': device}

    @extension.command(mutates=True, timeout=60)
    def snapshot_end(self, context: extension.Context) -> dict[str, bool]:
        """Thaw the file system and let the server write again.

        :returns: ``{held}``: false if it thawed before, so that what was taken may not
            be whole.
        """
        frozen, self._frozen = self._frozen, None
        return {'held': frozen is not None and frozen.end()}

    def _hold(self, mount_point: pathlib.Path, limit: float) -> None:
        release = self.engine.lock_writes()
        # Before it is frozen: it may thaw at any time from then on.
        self.held = 'a snapshot is being taken'
        try:
            # The agent's own files may be there, too.
            self.hold_storage([volume.number_of(mount_point)], limit)
            self._frozen = freeze.Frozen(
                mount_point, limit, lambda: self._thawed(release)
            )
        except errors.GuestError:
            self.held = ''
            self.release_storage()
            release()
            raise

    def _thawed(self, release: Callable[[], None]) -> None:
        """Let the server go on; on a thread of its own."""
        self.held = ''
        self._frozen_file.unlink(missing_ok=True)
        try:
            release()
        except errors.GuestError as error:
            LOG.warning('the lock of the snapshot was gone before its end: %s', error)
        self.release_storage()

    @property
    def _frozen_file(self) -> pathlib.Path:
        return pathlib.Path(self.conf.state_folder) / 'frozen'
