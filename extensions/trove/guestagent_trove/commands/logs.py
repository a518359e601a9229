# SPDX-License-Identifier: Apache-2.0
"""The logs of the server, and the agent's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_trove.commands import storing

ALL = 'all'


class Logs(storing.Storing):
    """The commands ``guest_log_...``."""

    @extension.command(mutates=False, timeout=180)
    def guest_log_list(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return the logs that may be shown, and how much of each is published."""
        return [
            self._show(context, log)
            for log in self.ask('log_list', context)
            if self._exposed(log['name'])
        ]

    @extension.command(mutates=True, timeout=180)
    def guest_log_action(
        self,
        context: extension.Context,
        log_name: str,
        enable: bool | None = False,
        disable: bool | None = False,
        publish: bool | None = False,
        discard: bool | None = False,
    ) -> dict[str, Any]:
        """Switch a log on or off, publish what is new, remove what was published."""
        if enable and disable:
            raise errors.InvalidArgument(
                f'log {log_name!r} cannot be switched on and off at once'
            )
        log = self._find(context, log_name)
        if log['kind'] == 'SYS' and (enable or disable):
            raise errors.InvalidArgument(f'log {log_name!r} is always on')
        wanted = bool(enable or (publish and not disable))
        if log['kind'] == 'USER' and ((wanted and not log['enabled']) or disable):
            self._switch(context, log_name, wanted)
        if discard:
            self._stored('log_discard', context, log_name)
        if publish:
            self._stored('log_publish', context, log_name)
        return self._show(context, self._find(context, log_name))

    def _switch(self, context: extension.Context, name: str, on: bool) -> None:
        verb = 'log_enable' if on else 'log_disable'
        if self.ask(verb, context, name=name)['restart_required']:
            self.state.set(restart=True)
            self.beat()

    def _find(self, context: extension.Context, name: str) -> dict[str, Any]:
        for log in self.ask('log_list', context):
            if log['name'] == name and self._exposed(name):
                return dict(log)
        raise errors.InvalidArgument(f'log {name!r} is not defined, or not to be shown')

    def _exposed(self, name: str) -> bool:
        shown = self.conf.guest_log_exposed_logs
        return ALL in shown or name in shown

    def _stored(
        self, verb: str, context: extension.Context, name: str
    ) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(
            verb, context, name=name, prefix=self._prefix(), target=self.target(context)
        )
        return found

    def _prefix(self) -> str:
        """Return what stands before a log's name, as Trove's client looks for it."""
        return f'{self.conf.guest_id}/{self.conf.datastore_manager}-'

    def _show(
        self, context: extension.Context, log: Mapping[str, Any]
    ) -> dict[str, Any]:
        stored = self._stored('log_show', context, log['name'])
        published, pending = stored['published'], stored['pending']
        if not log['enabled']:
            status = 'Disabled'
        elif stored['rotated']:
            status = 'Rotated'
        elif pending:
            status = 'Partial' if published else 'Ready'
        else:
            status = 'Published' if published else 'Enabled'
        return {
            'name': log['name'],
            'type': log['kind'],
            'status': status,
            'published': published,
            'pending': pending,
            'container': stored['container'] if published else 'None',
            'prefix': stored['prefix'] if published else 'None',
            'metafile': stored['metafile'],
        }
