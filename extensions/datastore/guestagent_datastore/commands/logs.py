# SPDX-License-Identifier: Apache-2.0
"""The logs of the server."""

from __future__ import annotations

from typing import Any

from guestagent import extension
from guestagent_datastore import base


class Logs(base.Base):
    """Lists and switches them."""

    @extension.command(mutates=False, timeout=15)
    def log_list(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return the logs: ``{name, kind, enabled, size}`` each, sizes in bytes."""
        return [
            {
                'name': log.name,
                'kind': log.kind,
                'enabled': log.enabled,
                'size': log.path.stat().st_size if log.path.exists() else 0,
            }
            for log in self.engine.logs()
        ]

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def log_enable(self, context: extension.Context, name: str) -> dict[str, bool]:
        """Switch a log on; returns ``{restart_required}``.

        :raises guestagent.errors.InvalidArgument: there is no such log to switch.
        """
        with self.changing('log_enable', context, beside_backup=True):
            return {'restart_required': self.engine.enable_log(name, True)}

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def log_disable(self, context: extension.Context, name: str) -> dict[str, bool]:
        """Switch a log off; returns ``{restart_required}``.

        :raises guestagent.errors.InvalidArgument: there is no such log to switch.
        """
        with self.changing('log_disable', context, beside_backup=True):
            return {'restart_required': self.engine.enable_log(name, False)}
