# SPDX-License-Identifier: Apache-2.0
"""The logs of MariaDB: what is switched is switched at once."""

from __future__ import annotations

import json

from guestagent import errors
from guestagent_datastore import files, models
from guestagent_datastore.engines.mariadb import server

#: Logs that are switched, the variable of each and its file.
_SWITCHED = {
    'general': ('general_log', 'general.log'),
    'slow_query': ('slow_query_log', 'slow.log'),
}

TEXT = """\
# Written by the guest agent; changes are lost.
[mariadbd]
log_output = FILE
"""


class Logs(server.Server):
    """Lists and switches logs."""

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files, those of the logs as they were."""
        self.prepare_folders()
        self._write_logs(self._read_logs())
        super().configure(contents, memory)

    def logs(self) -> list[models.Log]:
        """Return the logs; of a server that does not run, as they will be."""
        enabled = self._read_logs()
        if self.ready() == 'healthy':
            for name, (variable, _file) in _SWITCHED.items():
                ((value,),) = self.client.query(f'SELECT @@{variable}')
                enabled[name] = bool(value)
        folder = self.place.logs
        return [
            models.Log('error', 'SYS', True, folder / 'error.log'),
            *(
                models.Log(name, 'USER', enabled[name], folder / file)
                for name, (_variable, file) in _SWITCHED.items()
            ),
        ]

    def enable_log(self, name: str, enabled: bool) -> bool:
        """Switch a log on or off, now and after each start."""
        if name not in _SWITCHED:
            raise errors.InvalidArgument(
                f'{name!r} is no log that is switched: these are {", ".join(_SWITCHED)}'
            )
        self._write_logs(self._read_logs() | {name: enabled})
        if self.ready() == 'healthy':
            variable, file = _SWITCHED[name]
            path = str(self.place.logs / file)
            self.client.query(f'SET GLOBAL {variable}_file = %s', path)
            self.client.query(f'SET GLOBAL {variable} = %s', int(enabled))
        return False

    def _read_logs(self) -> dict[str, bool]:
        kept: dict[str, bool] = json.loads(
            files.read(self.place.state / 'logs.json') or '{}'
        )
        return dict.fromkeys(_SWITCHED, False) | kept

    def _write_logs(self, enabled: dict[str, bool]) -> None:
        files.write(self.place.state / 'logs.json', json.dumps(enabled), 0o600)
        lines = []
        for name, (variable, file) in _SWITCHED.items():
            lines.append(f'{variable} = {int(enabled[name])}\n')
            lines.append(f'{variable}_file = {self.place.logs / file}\n')
        files.write(self.file(server.LOGS), TEXT + ''.join(lines))
