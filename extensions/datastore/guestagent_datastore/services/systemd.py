# SPDX-License-Identifier: Apache-2.0
"""systemd runs the server: a unit of our own, beside the one of the package."""

from __future__ import annotations

import pathlib

from guestagent_datastore import engine as engines
from guestagent_datastore import models, programs, services

#: Where units of the machine's operator lie.
UNITS = pathlib.Path('/etc/systemd/system')

TEMPLATE = """\
# Written by the guest agent; changes are lost.
[Unit]
Description={name}, run for the guest agent
After=network.target local-fs.target
RequiresMountsFor={data}

[Service]
Type=exec
User={user}
ExecStart={command}
{environment}WorkingDirectory={folder}
{run}KillSignal={signal}
KillMode=mixed
SendSIGKILL=no
TimeoutStopSec={seconds}
Restart=on-failure
RestartSec=1
LimitNOFILE=65536
OOMScoreAdjust=-600

[Install]
WantedBy=multi-user.target
"""


class Systemd(services.Service):
    """A unit that is written before each start.

    :param seconds: how long the server may take to stop.
    """

    restarts = True

    def __init__(
        self, engine: engines.Engine, seconds: int, units: pathlib.Path = UNITS
    ) -> None:
        super().__init__(engine)
        self._seconds = seconds
        self._unit = f'guestagent-{engine.name}.service'
        self._path = units / self._unit

    def start(self) -> None:
        """Write the unit, take the package's own out of the way, and start it."""
        text = self.text()
        if not self._path.exists() or self._path.read_text() != text:
            self._path.write_text(text)
            self._systemctl('daemon-reload')
            # The package may start its own at each boot, or at the first client.
            for unit in self._engine.units:
                self._systemctl('disable', '--now', unit, codes=(0, 1, 5))
        self._systemctl('reset-failed', self._unit, codes=(0, 1, 5))
        self._systemctl('start', self._unit)

    def stop(self) -> None:
        """Have it stopped; systemd waits for the end by itself."""
        self._systemctl('stop', '--no-block', self._unit, codes=(0, 5))

    def pid(self) -> int:
        """Return what systemd says."""
        shown = self._systemctl('show', '--property=MainPID', '--value', self._unit)
        return int(shown.strip() or 0)

    def set_enabled(self, enabled: bool) -> None:
        """Enable the unit, or disable it."""
        if self._path.exists():
            word = 'enable' if enabled else 'disable'
            self._systemctl('--quiet', word, self._unit)

    def text(self) -> str:
        """Return the unit."""
        command = self._engine.server_command()
        place = self._engine.place
        run = ''
        if place.run.parent == pathlib.Path('/run'):
            # It is gone after each boot.
            run = f'RuntimeDirectory={place.run.name}\nRuntimeDirectoryPreserve=yes\n'
        return TEMPLATE.format(
            name=self._engine.name,
            data=place.data,
            user=command.user,
            command=' '.join(map(_quoted, command.argv)),
            environment=''.join(
                f'Environment={_quoted(f"{name}={value}")}\n'
                for name, value in command.environment.items()
            ),
            folder=command.folder,
            run=run,
            signal=self._engine.stop_signal,
            seconds=self._seconds,
        )

    def _systemctl(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        return programs.run(models.Command(('systemctl', *words)), codes=codes)


def _quoted(word: str) -> str:
    """Return a word of a command line as units have it."""
    word = word.replace('%', '%%').replace('$', '$$')
    return '"' + word.replace('\\', '\\\\').replace('"', '\\"') + '"'
