# SPDX-License-Identifier: Apache-2.0
"""Real databases in temporary folders on private ports, as root or as anyone.

Nothing of the machine's own servers is touched: each has its own configuration, data,
log and port, and is stopped by its own process id.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from devstack import processes


class Database:
    """A server of databases; it runs when it is made, and has one empty database.

    As root it runs as the user that its package made, because these servers refuse
    root, and keeps its files in a folder of its own below the system's temporary
    folder: that user may not enter the caller's.  Durable, as an operator has it.

    :param folder: for its log; made if it is not there.
    :ivar port: on 127.0.0.1; the same after :meth:`stop` and :meth:`start`.
    :ivar log: the file with all that it writes.
    :raises devstack.processes.Failed: it is not installed, or does not answer.
    """

    #: The package of the system, and the user that it makes.
    package, user = '', ''
    #: What asks it to end at once, but in good order.
    stop_signal = signal.SIGTERM

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = processes.free_port()
        self.log = folder / f'{self.package}.log'
        self._server: processes.Process | None = None
        self._files = pathlib.Path(tempfile.mkdtemp(prefix=f'guestagent-{self.port}-'))
        try:
            if os.geteuid() == 0:
                shutil.chown(self._files, self.user)
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._server.pid if self._server is not None else 0

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._server = processes.Process(
            self.package, self._as_user(self._command()), self.log, cwd=self._files
        )
        self._server.wait_for(self._answers, f'{self.package} answers', 120)

    def stop(self) -> None:
        """End it at once and in good order; clients lose their connections."""
        if self._server is not None:
            if self._server.running:
                os.kill(self._server.pid, self.stop_signal)
            self._server.wait_end(60)
            self._server = None

    def remove(self) -> None:
        """Stop it, and delete its files."""
        self.stop()
        shutil.rmtree(self._files)

    def url(self, name: str = '') -> str:
        """Return SQLAlchemy's URL of one of its databases."""
        raise NotImplementedError

    def add(self, name: str) -> str:
        """Make an empty database and return its URL."""
        raise NotImplementedError

    def _make(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _as_user(self, command: Sequence[str]) -> list[str]:
        if os.geteuid() != 0:
            return list(command)
        return [
            'setpriv',
            f'--reuid={self.user}',
            f'--regid={self.user}',
            '--clear-groups',
            # A change of user takes the one before away.
            '--pdeathsig',
            signal.Signals(self.stop_signal).name.removeprefix('SIG'),
            *command,
        ]

    def _run(self, *command: str) -> str:
        """Run one of its programs as its user.

        :raises devstack.processes.Failed: its exit code is not 0.
        """
        done = subprocess.run(
            self._as_user(command),
            cwd=self._files,
            env={'PATH': os.environ.get('PATH', os.defpath), 'LC_ALL': 'C.UTF-8'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise processes.Failed(
                f'{" ".join(command)}: {done.stdout.strip()} {done.stderr.strip()}'
            )
        return done.stdout


class PostgreSQL(Database):
    """A PostgreSQL server with trust for whoever is on this machine."""

    package, user = 'postgresql', 'postgres'
    stop_signal = signal.SIGINT

    def __init__(self, folder: pathlib.Path) -> None:
        found = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin/postgres'))
        if not found:
            raise processes.Failed(
                'PostgreSQL is not installed: apt-get install postgresql'
            )
        self._bin = found[-1].parent
        super().__init__(folder)

    def url(self, name: str = 'postgres') -> str:
        """Return SQLAlchemy's URL of one of its databases."""
        return f'postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}'

    def add(self, name: str) -> str:
        """Make an empty database and return its URL."""
        self._run(*self._client('createdb'), name)
        return self.url(name)

    def _client(self, program: str) -> list[str]:
        return [
            str(self._bin / program),
            '--host=127.0.0.1',
            f'--port={self.port}',
            '--username=postgres',
        ]

    def _make(self) -> None:
        self._run(
            str(self._bin / 'initdb'),
            '--username=postgres',
            '--auth=trust',
            '--encoding=UTF8',
            '--no-locale',
            '--no-sync',
            f'--pgdata={self._files / "data"}',
        )

    def _command(self) -> list[str]:
        options = {
            'listen_addresses': '127.0.0.1',
            'port': str(self.port),
            'unix_socket_directories': '',
            'synchronous_commit': 'on',
            'fsync': 'on',
        }
        return [
            str(self._bin / 'postgres'),
            '-D',
            str(self._files / 'data'),
            *(f'--{name}={value}' for name, value in options.items()),
        ]

    def _answers(self) -> bool:
        # Its own program asks in the protocol: the port is open before it serves.
        return not subprocess.run(
            [*self._client('pg_isready'), '--quiet'], check=False
        ).returncode


class MariaDB(Database):
    """A MariaDB server whose root has no password."""

    package, user = 'mariadb-server', 'mysql'

    def __init__(self, folder: pathlib.Path) -> None:
        # Not in everyone's PATH.
        found = shutil.which('mariadbd', path='/usr/sbin:/usr/local/sbin')
        if found is None:
            raise processes.Failed(
                'MariaDB is not installed: apt-get install mariadb-server'
            )
        self._program = found
        super().__init__(folder)

    def url(self, name: str = 'guestagent') -> str:
        """Return SQLAlchemy's URL of one of its databases."""
        return f'mariadb+pymysql://root@127.0.0.1:{self.port}/{name}'

    def add(self, name: str) -> str:
        """Make an empty database and return its URL."""
        self._run(
            'mariadb',
            '--no-defaults',
            '--user=root',
            f'--socket={self._files / "socket"}',
            f'--execute=CREATE DATABASE `{name}`',
        )
        return self.url(name)

    def _make(self) -> None:
        self._run(
            'mariadb-install-db',
            '--no-defaults',
            '--auth-root-authentication-method=normal',
            '--skip-test-db',
            f'--datadir={self._files / "data"}',
            self._temporary(),
        )

    def _command(self) -> list[str]:
        return [
            self._program,
            '--no-defaults',
            f'--datadir={self._files / "data"}',
            f'--socket={self._files / "socket"}',
            f'--pid-file={self._files / "pid"}',
            self._temporary(),
            f'--port={self.port}',
            '--bind-address=127.0.0.1',
            '--performance-schema=OFF',
        ]

    def _temporary(self) -> str:
        # Each server that starts removes all temporary tables there: not in /tmp.
        return f'--tmpdir={self._files}'

    def _answers(self) -> bool:
        return not subprocess.run(
            [
                'mariadb-admin',
                '--no-defaults',
                '--user=root',
                '--host=127.0.0.1',
                f'--port={self.port}',
                '--silent',
                'ping',
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
