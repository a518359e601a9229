# SPDX-License-Identifier: Apache-2.0
"""A real RabbitMQ in a temporary folder on private ports, as root or as anyone.

Nothing of the machine's own server is touched: each node has its own configuration,
data, log and ports, and is stopped by its own process id.
"""

import os
import pathlib
import subprocess
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
    :param management: serve the HTTP API, which takes 25 MiB more.
    :param tls: also listen with TLS, with a certificate for ``localhost`` of this
        authority's.
    :param mapper: the cluster's, which its owner ends; ``None``: one of its own.
    :param wait: until it lets ``guest`` in; otherwise call :meth:`wait_ready`.
    :ivar url: the transport URL of the virtual host ``/``.
    :ivar port: AMQP's, on 127.0.0.1.
    :ivar tls_port: AMQP's with TLS, 0 without.
    :ivar management_port: that of the HTTP API, 0 without.
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
        management: bool = False,
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
        self.management_port = processes.free_port() if management else 0
        self._own_mapper = mapper is None
        self._mapper = mapper or Mapper()
        self._env = self._environment()
        if management:
            plugins = [*plugins, 'rabbitmq_management']
        self._write_files(
            {
                **self._tls_settings(tls),
                **self._management_settings(),
                **(settings or {}),
            },
            plugins,
        )
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
    def management_url(self) -> str:
        """The URL of the HTTP API, as ``guest``."""
        return f'http://guest:guest@127.0.0.1:{self.management_port}'

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
        self._server.wait_for(self._answers, 'RabbitMQ answers', 120)

    def stop(self) -> None:
        """Stop it in good order, which takes about a second."""
        if self._server is not None:
            self._server.stop(120)
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
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise processes.Failed(
                f'rabbitmqctl {" ".join(arguments)}: {done.stdout}{done.stderr}'
            )
        return done.stdout

    def add_vhost(self, name: str) -> str:
        """Make a virtual host with all rights for ``guest``; return its URL."""
        return self.add_vhosts([name])[0]

    def add_vhosts(self, names: Sequence[str]) -> list[str]:
        """Make virtual hosts; ten take little longer than one."""
        self.ctl(
            'eval',
            ', '.join(
                f'rabbit_vhost:add(<<"{name}">>, <<"devstack">>), '
                f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, '
                f'<<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"devstack">>)'
                for name in names
            )
            + '.',
        )
        return [self.url_of(name) for name in names]

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

    def _management_settings(self) -> dict[str, str]:
        if not self.management_port:
            return {}
        return {
            'management.tcp.ip': '127.0.0.1',
            'management.tcp.port': str(self.management_port),
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
