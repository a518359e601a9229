# SPDX-License-Identifier: Apache-2.0
"""The logs of the server, and the agent's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_trove.commands import storing

LOG = logging.getLogger(__name__)

ALL = 'all'


class Logs(storing.Storing):
    """The commands ``guest_log_...``."""

    @extension.command(mutates=False, timeout=180)
    def guest_log_list(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return the logs that may be shown, and how much of each is published."""
        stored = self._stored(context)
        return [
            _show(log, stored.get(log['name']))
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
            self.ask('log_discard', context, name=log_name, **self._place(context))
        if publish:
            self.ask('log_publish', context, name=log_name, **self._place(context))
        stored = self._stored(context)
        return _show(self._find(context, log_name), stored.get(log_name))

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

    def _place(self, context: extension.Context) -> dict[str, Any]:
        """Return where logs are published, with the names that Trove's client reads."""
        storage = self.conf.storage_strategy
        return {
            'storage': storage,
            'target': self.target(context, storage),
            'prefix': f'{self.conf.guest_id}/{self.conf.datastore_manager}-',
        }

    def _stored(self, context: extension.Context) -> dict[str, dict[str, Any]]:
        """Return what is published of each log; of none, where there is no place."""
        try:
            found = self.ask('log_show', context, **self._place(context))
        except errors.InvalidArgument as error:
            LOG.info('nothing is published: %s', error)
            return {}
        return {one['name']: one for one in found}


def _show(log: Mapping[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a log as Trove shows it."""
    stored = stored or {'published': 0, 'pending': log['size'], 'rotated': False}
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
        'metafile': stored.get('metafile', 'None'),
    }
