# SPDX-License-Identifier: Apache-2.0
"""The server's log: one file, with statements where that is switched on."""

from __future__ import annotations

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.postgresql import server


class Logs(server.Server):
    """What has to do with logs."""

    def logs(self) -> list[models.Log]:
        """Return what the server says, and the statements; they share a file."""
        path = self.place.logs / 'postgresql.log'
        return [
            models.Log('error', 'SYS', True, path),
            models.Log('general', 'USER', self.recall().general_log, path),
        ]

    def enable_log(self, name: str, enabled: bool) -> bool:
        """Log all statements, or none; the server takes it at once.

        :raises guestagent.errors.InvalidArgument: it cannot be switched.
        """
        if name != 'general':
            raise errors.InvalidArgument(
                f'{name!r} is no log that is switched: only general is'
            )
        state = self.recall()
        state.general_log = enabled
        self.keep(state)
        self.reload()
        return False
