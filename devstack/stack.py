# SPDX-License-Identifier: Apache-2.0
"""The project's own programs as child processes: hub, agent, conductor, guestctl.

They are the console scripts of the environment that runs this, each with a
configuration file of its own in a folder that the caller gives.
"""

import functools
import os
import pathlib
import subprocess
import sysconfig
import urllib.parse
from collections.abc import Mapping, Sequence

import amqp

from devstack import processes
from guestagent.bus import where

#: Options by section and name.
Options = Mapping[str, Mapping[str, object]]

#: The environment variable that tells guestctl the bus.
URL_VARIABLE = 'GUESTAGENT_TRANSPORT_URL'


def script(name: str) -> pathlib.Path:
    """Return the path of a console script."""
    return pathlib.Path(sysconfig.get_path('scripts')) / name


def write_config(path: pathlib.Path, *layers: Options) -> None:
    """Write an oslo.config file; a later layer's options win over an earlier's."""
    merged: dict[str, dict[str, object]] = {'DEFAULT': {}}
    for layer in layers:
        for section, options in layer.items():
            merged.setdefault(section, {}).update(options)
    lines = []
    for section, values in merged.items():
        lines.append(f'[{section}]')
        lines += [f'{name} = {value}' for name, value in values.items()]
    path.write_text('\n'.join(lines) + '\n')


class Hub(processes.Process):
    """A real ``guestagent-hub``; it serves when it is made.

    :param options: more of its command line, as ``'--guest', 'vm-1'``.
    :ivar folder: the folder of its sockets.
    :raises devstack.processes.Failed: it does not come up.
    """

    def __init__(self, folder: pathlib.Path, *options: str) -> None:
        self.folder = folder / 'hub'
        super().__init__(
            'hub',
            [script('guestagent-hub'), '--listen', self.folder, *options],
            folder / 'hub.log',
        )
        try:
            self.wait_line(r'INFO guestagent.hub.service hub in ')
        except processes.Failed:
            self.kill()
            raise

    @property
    def url(self) -> str:
        """The transport URL of programs and agents."""
        return f'channel://{self.folder}'

    def guest_socket(self, instance: str) -> pathlib.Path:
        """Return the socket of a guest."""
        return self.folder / 'guests' / f'{instance}.sock'


class Agent(processes.Process):
    """A real ``guestagent``; :meth:`wait_ready` returns when it takes requests.

    :param packages: a folder whose packages it finds beside the installed ones.
    :param under: a program, and its arguments, that starts it: ``strace``.
    :ivar instance: its instance id.
    :ivar config: its configuration file.
    :ivar state: the folder with what it keeps.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        url: str,
        instance: str,
        options: Options | None = None,
        packages: pathlib.Path | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self.instance = instance
        self.config = folder / f'agent-{instance}.conf'
        self.state = folder / f'agent-{instance}.state'
        self._url = url
        write_config(
            self.config,
            {
                'DEFAULT': {
                    'transport_url': url,
                    'instance_id': instance,
                    'control_exchange': 'guestagent',
                    'enabled_extensions': 'exec,monitoring',
                    'state_dir': self.state,
                },
                'reports': {'heartbeat_interval': 1},
                # On a private bus; with a key it does not count.
                'seal': {'allow_plain': True},
            },
            options or {},
        )
        super().__init__(
            f'agent {instance}',
            [*under, script('guestagent'), '--config-file', self.config],
            folder / f'agent-{instance}.log',
            env=beside(packages) if packages else None,
        )

    def wait_ready(self) -> None:
        """Wait until it consumes its requests.

        :raises devstack.processes.Failed: it ended, or does not.
        """
        if where.is_channel(self._url):
            self.wait_line('connected to the hub at ')
            return
        queue = f'guestagent.{self.instance}'
        self.wait_for(
            functools.partial(consumers, self._url, queue), f'{queue} has a consumer'
        )


class Conductor(processes.Process):
    """A real ``guestagent-conductor`` with SQLite.

    :ivar config: its configuration file.
    :ivar database: its SQLite file.
    """

    def __init__(
        self, folder: pathlib.Path, url: str, options: Options | None = None
    ) -> None:
        self.config = folder / 'conductor.conf'
        self.database = folder / 'conductor.sqlite'
        self._url = url
        write_config(
            self.config,
            {
                'DEFAULT': {'transport_url': url},
                'database': {'connection': f'sqlite:///{self.database}'},
                'conductor': {'sweep_interval': 0.5},
            },
            options or {},
        )
        super().__init__(
            'conductor',
            [script('guestagent-conductor'), '--config-file', self.config],
            folder / 'conductor.log',
        )

    def wait_ready(self) -> None:
        """Wait until it consumes reports and queries.

        :raises devstack.processes.Failed: it ended, or does not.
        """
        if where.is_channel(self._url):
            self.wait_line('taking reports from ')
            self.wait_line('answering queries on topic ')
            return
        for queue in ('guestagent_reports.info', 'guestagent-conductor'):
            self.wait_for(
                functools.partial(consumers, self._url, queue),
                f'{queue} has a consumer',
            )


def beside(packages: pathlib.Path) -> dict[str, str]:
    """Return an environment in which ``packages`` are found, too."""
    before = os.environ.get('PYTHONPATH')
    path = os.pathsep.join([str(packages), *([before] if before else [])])
    return {**os.environ, 'PYTHONPATH': path}


def guestctl(
    url: str, *arguments: str, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``guestctl`` to its end; both outputs are kept, any exit code is fine."""
    return subprocess.run(
        [script('guestctl'), *arguments],
        env={**os.environ, URL_VARIABLE: url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def consumers(url: str, queue: str) -> int:
    """Return how many consumers a queue has, 0 if there is no such queue."""
    parts = urllib.parse.urlsplit(url)
    with amqp.Connection(
        f'{parts.hostname}:{parts.port}',
        userid=parts.username,
        password=parts.password,
        virtual_host=parts.path[1:] or '/',
    ) as connection:
        try:
            found = connection.channel().queue_declare(queue, passive=True)
        except amqp.NotFound:
            return 0
        return int(found.consumer_count)
