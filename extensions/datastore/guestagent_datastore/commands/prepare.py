# SPDX-License-Identifier: Apache-2.0
"""Everything at once: from nothing, or from a volume with data, to a server."""

from __future__ import annotations

from typing import Any

from guestagent import extension
from guestagent_datastore.backups import commands as backups
from guestagent_datastore.commands import (
    accounts,
    configuration,
    logs,
    replication,
    setup,
    snapshot,
    tls,
    values,
)


class Prepare(
    setup.Setup,
    accounts.Accounts,
    configuration.Configuration,
    replication.Replication,
    logs.Logs,
    tls.Tls,
    snapshot.Snapshots,
    backups.Backups,
):
    """Makes a server, or makes it anew on its volume."""

    @extension.command(
        mutates=True,
        timeout=None,
        sensitive=('config', 'restore', 'users', 'root_password', 'source'),
    )
    def prepare(
        self,
        context: extension.Context,
        packages: list[str] | None = None,
        device_path: str = '',
        mount_point: str = '',
        memory: int = 0,
        config: str | None = None,
        overrides: dict[str, str | int | float | bool] | None = None,
        restore: dict[str, Any] | None = None,
        databases: list[dict[str, Any]] | None = None,
        users: list[dict[str, Any]] | None = None,
        root_password: str | None = None,
        source: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make a server from nothing, as asked, and return its status.

        doc/datastore.rst says what each argument is.
        """
        wanted_databases = values.databases(databases or [])
        wanted_users = values.users(users or [])
        followed = None if source is None else replication.source_of(source)
        backup = None if restore is None else self.source(restore)
        with self.changing('prepare', context):
            self._base(context, packages, device_path, mount_point)
            self.step(context, 20, 'configuring the server')
            self.engine.configure(config, memory)
            self._begin(backup, context)
            self._override(overrides, context)
            if followed is not None:
                self.step(context, 80, 'attaching to the source')
                self.follow(followed, context)
            self.step(context, 90, 'making databases and users')
            # Not each kind of server has them.
            if wanted_databases:
                self.engine.create_databases(wanted_databases)
            if wanted_users:
                self.engine.create_users(wanted_users)
            if root_password is not None:
                self.open_root(root_password)
        return self.status(context)

    @extension.command(mutates=True, timeout=None, sensitive=('config',))
    def rebuild(
        self,
        context: extension.Context,
        packages: list[str] | None = None,
        device_path: str = '',
        mount_point: str = '',
        memory: int = 0,
        config: str | None = None,
        overrides: dict[str, str | int | float | bool] | None = None,
    ) -> dict[str, Any]:
        """Make everything but the data anew, from the volume; return the status.

        :raises guestagent.errors.GuestError: there is no data on the volume.
        """
        with self.changing('rebuild', context):
            self._base(context, packages, device_path, mount_point)
            self.step(context, 20, 'configuring the server')
            # A guest that ended in the midst of a restore may have left it so.
            self.give_back(run=False)
            self.control.pause(context)
            self.engine.configure(config, memory)
            self.step(context, 40, 'starting the server')
            self.control.start(context)
            self._override(overrides, context)
            self.engine.upgraded()
        return self.status(context)

    def _base(
        self,
        context: extension.Context,
        packages: list[str] | None,
        device_path: str,
        mount_point: str,
    ) -> None:
        """Install the packages and mount the volume, as far as they are named."""
        if packages is not None:
            self.install_packages(packages, context)
        if device_path:
            self.mount_volume(device_path, mount_point, context)

    def _begin(self, backup: backups.Source | None, context: extension.Context) -> None:
        """Make or restore the data, and start the server."""
        if backup is not None:
            self.step(context, 30, 'restoring the data')
            self.restore(backup, context)
            return
        fresh = not self.engine.initialised()
        if fresh:
            self.step(context, 30, 'making the data')
            self.engine.initialise()
        self.step(context, 50, 'starting the server')
        self.control.start(context)
        if fresh:
            self.engine.secure()

    def _override(
        self,
        overrides: dict[str, str | int | float | bool] | None,
        context: extension.Context,
    ) -> None:
        """Set overrides, and start the server again if they need that."""
        if overrides and self.override(overrides).restart_required:
            self.step(context, 70, 'starting the server again')
            self.control.restart(context)
