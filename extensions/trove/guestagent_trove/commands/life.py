# SPDX-License-Identifier: Apache-2.0
"""From nothing to a server that serves, and on from there."""

from __future__ import annotations

import logging
from typing import Any

from guestagent import errors, extension
from guestagent_trove import base, shapes
from guestagent_trove import state as states
from guestagent_trove.commands import modules, storing

LOG = logging.getLogger(__name__)

#: Sensitive arguments of ``prepare``.
_SECRETS = ('users', 'root_password', 'snapshot', 'modules', 'config_contents')


class Life(modules.Modules, storing.Storing, base.Base):
    """The life cycle of the server."""

    @extension.command(mutates=False, inline=True)
    def rpc_ping(self, context: extension.Context) -> bool:
        """Say that the agent is there."""
        return True

    @extension.command(mutates=True, timeout=None, sensitive=_SECRETS)
    def prepare(
        self,
        context: extension.Context,
        packages: list[str] | str | None = None,
        databases: list[dict[str, Any]] | None = None,
        memory_mb: int | None = None,
        users: list[dict[str, Any]] | None = None,
        device_path: str | None = None,
        mount_point: str | None = None,
        backup_info: dict[str, Any] | None = None,
        config_contents: str | None = None,
        root_password: str | None = None,
        overrides: dict[str, Any] | None = None,
        cluster_config: dict[str, Any] | None = None,
        snapshot: dict[str, Any] | None = None,
        modules: list[dict[str, Any]] | None = None,
        ds_version: str | None = None,
    ) -> None:
        """Make a server from nothing, or from a backup, or as a replica."""
        with self.telling(context, 'prepare', instance_id=self.conf.guest_id):
            self.state.set(phase=states.BUILDING, restart=False)
            self.beat()
            try:
                if cluster_config:
                    raise errors.InvalidArgument(
                        'cluster_config: there are no clusters'
                    )
                if isinstance(packages, str):
                    packages = packages.split()
                given = {
                    'packages': packages,
                    'device_path': device_path,
                    'mount_point': mount_point,
                    'memory': memory_mb,
                    'config': config_contents,
                    'overrides': overrides,
                    'restore': backup_info and self.restore_from(backup_info, context),
                    'source': snapshot and self.source_of(snapshot),
                }
                self._ask_given('prepare', context, given)
            except BaseException:
                self.state.set(phase=states.FAILED)
                self.beat()
                raise
            self.state.set(phase=states.READY)
            self.beat()
            self._fill(context, databases, users, modules)
            self._open_root(context, None if backup_info else root_password)

    def _fill(
        self,
        context: extension.Context,
        databases: list[dict[str, Any]] | None,
        users: list[dict[str, Any]] | None,
        modules: list[dict[str, Any]] | None,
    ) -> None:
        """Add what the user wants in it; a mistake there costs no instance."""
        if modules:
            self._try('modules', lambda: self.apply_modules(modules))
        if databases:
            made = [shapes.database_in(item) for item in databases]
            self._try(
                'databases',
                lambda: self.ask('database_create', context, databases=made),
            )
        if users:
            people = [shapes.user_in(item) for item in users]
            self._try('users', lambda: self.ask('user_create', context, users=people))

    def _open_root(self, context: extension.Context, password: str | None) -> None:
        if password:
            self._try(
                'root', lambda: self.ask('root_enable', context, password=password)
            )
        elif self.ask('root_status', context)['enabled']:
            # A backup may have brought it.
            self.conductor.report_root()

    def _try(self, what: str, work: Any) -> None:
        try:
            work()
        except errors.GuestAgentError as error:
            LOG.error('the instance is there, but its %s are not: %s', what, error)

    @extension.command(mutates=True, timeout=600, sensitive=('config_contents',))
    def start_db_with_conf_changes(
        self,
        context: extension.Context,
        config_contents: str | dict[str, Any] | None,
        ds_version: str | None = None,
    ) -> None:
        """Start the server with another base configuration, after a resize."""
        config = _config_text(config_contents)
        if self.call('datastore', 'status')['state'] in ('healthy', 'running'):
            self.ask('server_stop', context)
        self.ask('server_start', context, config=config)
        self._started()

    @extension.command(mutates=True, timeout=600)
    def stop_db(
        self, context: extension.Context, do_not_start_on_reboot: bool = False
    ) -> None:
        """Stop the server."""
        self.ask('server_stop', context, disable=do_not_start_on_reboot)
        self.beat()

    @extension.command(mutates=True, timeout=600)
    def restart(self, context: extension.Context) -> None:
        """Stop the server and start it."""
        self.ask('server_restart', context)
        self._started()

    @extension.command(mutates=True, timeout=None, sensitive=('config_contents',))
    def rebuild(
        self,
        context: extension.Context,
        ds_version: str | None = None,
        config_contents: str | None = None,
        config_overrides: dict[str, Any] | None = None,
    ) -> None:
        """Make the server anew from the data on the volume."""
        with self.telling(context, 'prepare'):
            self.state.set(phase=states.BUILDING, restart=False)
            self.beat()
            try:
                given = {'config': config_contents, 'overrides': config_overrides}
                self._ask_given('rebuild', context, given)
            except BaseException:
                self.state.set(phase=states.FAILED)
                self.beat()
                raise
            self.state.set(phase=states.READY)
            self.beat()

    @extension.command(mutates=True, timeout=600, sensitive=('return',))
    def pre_upgrade(self, context: extension.Context) -> dict[str, Any]:
        """Stop the server; return what ``post_upgrade`` wants on a new guest."""
        saved: dict[str, Any] = self.ask('upgrade_save', context)
        self.beat()
        return saved

    @extension.command(mutates=True, timeout=None)
    def upgrade(self, context: extension.Context, upgrade_info: dict[str, Any]) -> None:
        """Bring the server to a newer minor version of its packages."""
        packages = upgrade_info.get('packages')
        self._ask_given('upgrade', context, {'packages': packages})
        self._started()

    @extension.command(mutates=True, timeout=600, sensitive=('upgrade_info',))
    def post_upgrade(
        self, context: extension.Context, upgrade_info: dict[str, Any]
    ) -> None:
        """Go on with the volume of another guest."""
        self.ask('upgrade_resume', context, saved=upgrade_info)
        self.state.set(phase=states.READY)
        self._started()

    @extension.command(mutates=False, timeout=15)
    def update_guest(self, context: extension.Context) -> None:
        """Refuse: an agent is updated with its image or its package."""
        raise errors.GuestError(
            'the agent is not updated over the bus: update its package, or the image '
            'and rebuild the instance'
        )

    @extension.command(mutates=False, timeout=15)
    def get_diagnostics(self, context: extension.Context) -> dict[str, Any]:
        """Return what the server's process takes; sizes in KiB."""
        found: dict[str, Any] = self.ask('diagnostics', context)
        return found

    @extension.command(mutates=False, timeout=15)
    def get_hwinfo(self, context: extension.Context) -> dict[str, Any]:
        """Return the memory in MiB, and the number of processors."""
        found: dict[str, Any] = self.ask('hardware', context)
        return found

    def _ask_given(
        self, verb: str, context: extension.Context, given: dict[str, Any]
    ) -> None:
        """Leave to ``datastore`` what Trove says nothing of."""
        self.ask(verb, context, **{name: one for name, one in given.items() if one})

    def _started(self) -> None:
        self.state.set(restart=False)
        self.beat()


def _config_text(contents: Any) -> str | None:
    """Return a configuration; some callers wrap it."""
    if isinstance(contents, dict):
        contents = contents.get('config_contents')
    return contents or None
