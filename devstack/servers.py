# SPDX-License-Identifier: Apache-2.0
"""Real servers in temporary folders on private ports, as root or as anyone.

Nothing of the machine's own servers is touched: each has its own configuration, data,
log and ports, and is stopped by its own process id.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

import amqp

from devstack import certificates, processes

#: Not /usr/sbin: what stands there runs the server as another user.
_RABBITMQ_BIN = pathlib.Path('/usr/lib/rabbitmq/bin')

#: For RabbitMQ(settings=...): socket buffers that do not blur a memory figure.
SMALL_BUFFERS = {
    'tcp_listen_options.sndbuf': '32768',
    'tcp_listen_options.recbuf': '32768',
}


class Mapper:
    """Erlang's port mapper (epmd) and a cookie: what nodes of one cluster share.

    :ivar port: its own, on 127.0.0.1.
    :ivar cookie: the nodes' password to each other.
    """

    def __init__(self) -> None:
        self.port = processes.free_port()
        self.cookie = os.urandom(16).hex()
        self._process: processes.Process | None = None

    def start(self, folder: pathlib.Path) -> None:
        """Start it, unless it runs, with its log in ``folder``."""
        if self._process is None:
            self._process = processes.Process(
                'epmd',
                ['epmd', '-port', str(self.port), '-address', '127.0.0.1'],
                folder / 'epmd.log',
            )
            self._process.wait_port(self.port)

    def kill(self) -> None:
        """End it; it knows no good order: SIGTERM is a failure to it."""
        if self._process is not None:
            self._process.kill()
            self._process = None


class RabbitMQ:
    """A RabbitMQ node of one scheduler.

    It runs when it is made.  After :meth:`stop` or :meth:`kill` it can be started
    again with :meth:`start`, on the same ports and data.

    :param folder: for everything that it writes; made if it is not there.
    :param settings: more lines of rabbitmq.conf, as :data:`SMALL_BUFFERS`.
    :param plugins: names of the plugins to enable.
    :param tls: also listen with TLS, with a certificate for ``localhost`` of this
        authority's.
    :param mapper: the cluster's, which its owner ends; ``None``: one of its own.
    :param wait: until it lets ``guest`` in; otherwise call :meth:`wait_ready`.
    :ivar url: the transport URL of the virtual host ``/``.
    :ivar port: AMQP's, on 127.0.0.1.
    :ivar tls_port: AMQP's with TLS, 0 without.
    :ivar node: the Erlang node's name.
    :ivar log: the file with all that the node writes.
    :raises devstack.processes.Failed: it is not installed, or does not answer.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        settings: Mapping[str, str] | None = None,
        *,
        plugins: Sequence[str] = (),
        tls: certificates.Authority | None = None,
        mapper: Mapper | None = None,
        wait: bool = True,
    ) -> None:
        if not (_RABBITMQ_BIN / 'rabbitmq-server').exists():
            raise processes.Failed(
                'RabbitMQ is not installed: apt-get install rabbitmq-server'
            )
        self._folder = folder
        self.port = processes.free_port()
        self.node = f'guestagent-{self.port}@localhost'
        self.url = self.url_of('')
        self.log = folder / 'rabbitmq.log'
        self.tls_port = processes.free_port() if tls else 0
        self._own_mapper = mapper is None
        self._mapper = mapper or Mapper()
        self._env = self._environment()
        self._write_files({**self._tls_settings(tls), **(settings or {})}, plugins)
        self._server: processes.Process | None = None
        try:
            self.launch()
            if wait:
                self.wait_ready()
        except BaseException:
            # Nobody else could: there is no node to speak of yet.
            self.kill()
            raise

    def url_of(self, vhost: str) -> str:
        """Return the transport URL of a virtual host, as ``guest``."""
        return f'rabbit://guest:guest@127.0.0.1:{self.port}/{vhost}'

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine; for its memory and CPU time.

        :raises devstack.processes.Failed: the node is not running.
        """
        if self._server is None:
            raise processes.Failed(f'{self.node} is not running')
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped or killed since."""
        return self._server is not None

    def start(self) -> None:
        """Start it and wait until it lets ``guest`` in."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it and wait for nothing."""
        self._mapper.start(self._folder)
        self._server = processes.Process(
            'rabbitmq',
            [_RABBITMQ_BIN / 'rabbitmq-server'],
            self.log,
            env=self._env,
            cwd=self._folder,
        )

    def wait_ready(self) -> None:
        """Wait until it lets ``guest`` in.

        :raises devstack.processes.Failed: it ended, or does not.
        """
        if self._server is None:
            raise processes.Failed(f'{self.node} is not running')
        self._server.wait_for(self._answers, 'RabbitMQ answers', 60)

    def stop(self) -> None:
        """Stop it in good order, which takes about a second."""
        if self._server is not None:
            self._server.stop(30)
            self._server = None
        self._end_mapper()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server = None
        self._end_mapper()

    def restart(self) -> None:
        """Stop it and start it again, on the same ports and data."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` and return its output; one run takes about 0.4 s.

        :raises devstack.processes.Failed: its exit code is not 0.
        """
        done = subprocess.run(
            [_RABBITMQ_BIN / 'rabbitmqctl', '--quiet', *arguments],
            env=self._env,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise processes.Failed(
                f'rabbitmqctl {" ".join(arguments)}: {done.stdout}{done.stderr}'
            )
        return done.stdout

    def add_vhost(self, name: str) -> str:
        """Make a virtual host with all rights for ``guest``; return its URL."""
        self.ctl(
            'eval',
            f'rabbit_vhost:add(<<"{name}">>, <<"devstack">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, '
            f'<<"{name}">>, <<".*">>, <<".*">>, <<".*">>, '
            f'<<"devstack">>).',
        )
        return self.url_of(name)

    def _answers(self) -> bool:
        try:
            with amqp.Connection(
                f'127.0.0.1:{self.port}', connect_timeout=2, read_timeout=10
            ):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def _end_mapper(self) -> None:
        if self._own_mapper:
            self._mapper.kill()

    def _tls_settings(self, tls: certificates.Authority | None) -> dict[str, str]:
        if tls is None:
            return {}
        made = tls.issue('localhost', names=('localhost',))
        return {
            'listeners.ssl.1': f'127.0.0.1:{self.tls_port}',
            'ssl_options.cacertfile': str(tls.certificate),
            'ssl_options.certfile': str(made.certificate),
            'ssl_options.keyfile': str(made.key),
        }

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            'PATH': os.environ.get('PATH', os.defpath),
            'HOME': str(folder),
            'LC_ALL': 'C.UTF-8',
            'ERL_EPMD_PORT': str(self._mapper.port),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            # Both scripts read the machine's own settings without this.
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_NODENAME': self.node,
            'RABBITMQ_DIST_PORT': str(processes.free_port()),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '+S 1:1 +sbwt none '
            '-kernel inet_dist_use_interface {127,0,0,1}',
            'RABBITMQ_MNESIA_BASE': str(folder / 'data'),
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_LOGS': '-',
            'RABBITMQ_SCHEMA_DIR': str(folder / 'schema'),
            'RABBITMQ_GENERATED_CONFIG_DIR': str(folder / 'generated'),
            'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(folder / 'advanced.config'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'enabled_plugins'),
            'RABBITMQ_PID_FILE': str(folder / 'rabbitmq.pid'),
            # The script then replaces itself by the server, whose pid we so know.
            'RUNNING_UNDER_SYSTEMD': 'true',
        }

    def _write_files(self, settings: Mapping[str, str], plugins: Sequence[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = {
            'listeners.tcp.1': f'127.0.0.1:{self.port}',
            # A nearly full disk would block every publisher without a word.
            'disk_free_limit.absolute': '1MB',
            **settings,
        }
        (self._folder / 'rabbitmq.conf').write_text(
            ''.join(f'{key} = {value}\n' for key, value in lines.items())
        )
        (self._folder / 'enabled_plugins').write_text(f'[{",".join(plugins)}].\n')
        cookie = self._folder / '.erlang.cookie'
        cookie.write_text(self._mapper.cookie)
        cookie.chmod(0o400)


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
        self._server.wait_for(self._answers, f'{self.package} answers', 60)

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
        )

    def _command(self) -> list[str]:
        return [
            self._program,
            '--no-defaults',
            f'--datadir={self._files / "data"}',
            f'--socket={self._files / "socket"}',
            f'--pid-file={self._files / "pid"}',
            f'--port={self.port}',
            '--bind-address=127.0.0.1',
            '--performance-schema=OFF',
        ]

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
