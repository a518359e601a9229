# SPDX-License-Identifier: Apache-2.0
"""What every benchmark stands on: one broker, the servers to compare, the clients."""

import contextlib
import functools
import logging
import pathlib
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import amqp

from devstack import certificates, processes, servers
from guestagent.bus import topics
from tests.benchmarks import environments, pipelined, report, stock

LOG = logging.getLogger(__name__)

OURS = report.OURS
A, B = PEERS = report.PEERS
ALL = (OURS, A, B)

EXCHANGE = topics.CONTROL_EXCHANGE
PEER_SERVER = pathlib.Path(__file__).with_name('peer_server.py')

#: What an operator's agent has, without and with what the benchmarks call.
PLAIN = ('exec', 'monitoring')
CALLABLE = (*PLAIN, 'echo')

_CONFIG = """[DEFAULT]
transport_url = {url}
instance_id = {instance}
control_exchange = {exchange}
enabled_extensions = {extensions}
state_dir = {state}
require_extensions = true
"""

#: There are no strangers on a bus that is ours.
OPEN = '[seal]\nallow_plain = true\n'


class Server:
    """One running server, ours or a peer's, on a topic of its own.

    :ivar kind: ``'ours'``, ``'A'`` or ``'B'``.
    :ivar topic: what it is called by, and the name of its queue.
    :ivar state: the folder in which ours keeps what must survive a crash.
    """

    def __init__(
        self,
        kind: str,
        instance: str,
        folder: pathlib.Path,
        start: Callable[[], processes.Process],
    ) -> None:
        self.kind = kind
        self.state = folder / f'{instance}.state'
        self.topic = topics.request_topic(instance)
        self._start = start
        self.process = start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def stop(self) -> None:
        """End it; ours says goodbye first."""
        self.process.stop()

    def start_again(self) -> None:
        """Start it once more, on the same queues."""
        self.process = self._start()


class Bed:
    """The broker and what is made on it; a context manager that ends it all.

    :param venvs: the environment of each kind of server.
    :param quick: fewer rounds, for a look at whether everything works.
    :param tls: servers and the stock client connect through TLS, and verify the
        broker against this authority.
    :ivar url: by which they connect.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        venvs: Mapping[str, environments.Environment],
        quick: bool = False,
        tls: certificates.Authority | None = None,
    ) -> None:
        self.quick = quick
        self._folder, self._venvs = folder, venvs
        self._servers: list[Server] = []
        (folder / 'home').mkdir(parents=True)
        self.broker = servers.RabbitMQ(
            folder / 'rabbitmq', servers.SMALL_BUFFERS, tls=tls
        )
        self.url = self.broker.url
        if tls is not None:
            self.url = (
                f'rabbit://guest:guest@localhost:{self.broker.tls_port}/'
                f'?ssl=1&ssl_ca_file={tls.certificate}'
            )
        self._take_reports()
        self.stock = stock.Client(self.url, EXCHANGE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.kill_servers()
        self.stock.close()
        self.broker.stop()

    def another(self, tls: bool = False) -> Self:
        """Return a bed with a broker of its own that nothing has used."""
        folder = self._folder / uuid.uuid4().hex[:12]
        authority = certificates.Authority(folder / 'authority') if tls else None
        return type(self)(folder, self._venvs, self.quick, authority)

    def rounds(self, count: int) -> int:
        """Return how many rounds to make: ``count``, or 1 for a quick look."""
        return 1 if self.quick else count

    def program(self, kind: str, name: str) -> pathlib.Path:
        """Return the path of a program in the environment of a kind."""
        return self._venvs[kind].program(name)

    def start(
        self,
        kind: str,
        extensions: Sequence[str] = CALLABLE,
        wait: bool = True,
        hub: str = '',
        instance: str = '',
        options: str = '',
        script: pathlib.Path | None = None,
    ) -> Server:
        """Start a server of a kind.

        :param wait: until it consumes from its queues; not on a hub.
        :param hub: the URL of a hub that it uses in place of the broker.
        :param instance: its name; ``''``: a new one.
        :param options: more for ours, as sections of a file.
        :param script: runs ours in another way.
        :raises devstack.processes.Failed: it does not come up.
        """
        instance = instance or f'{kind.lower()}-{uuid.uuid4().hex[:12]}'
        argv = self._argv(kind, instance, extensions, hub or self.url, options)
        if script is not None:
            python = self._venvs[kind].program('python')
            argv = [str(python), str(script), *argv[1:]]
        log = self._folder / f'{instance}.log'
        env = {
            'PATH': '/usr/bin:/bin',
            'LC_ALL': 'C.UTF-8',
            'HOME': str(self._folder / 'home'),
        }
        server = Server(
            kind,
            instance,
            self._folder,
            lambda: processes.Process(instance, argv, log, env=env, cwd=self._folder),
        )
        self._servers.append(server)
        if wait and not hub:
            self.wait_consuming([server])
        return server

    def stop_servers(self) -> None:
        """Stop all servers, and wait until the broker has seen them go.

        :raises devstack.processes.Failed: one had to be killed.
        """
        stopped = []
        while self._servers:
            server = self._servers.pop()
            stopped.append(server)
            if server.process.running:
                server.stop()
        self.wait_gone(stopped)

    def kill_servers(self) -> None:
        """End all servers, whatever state they are in."""
        while self._servers:
            self._servers.pop().process.kill()

    def wait_consuming(self, waited: Sequence[Server], seconds: float = 60) -> None:
        """Wait until each of the servers consumes."""
        for server in waited:
            server.process.wait_for(
                functools.partial(self._consumers, server.topic), 'it consumes', seconds
            )

    def wait_gone(self, waited: Sequence[Server], seconds: float = 30) -> None:
        """Wait until nothing consumes from their queues."""
        for server in waited:
            processes.wait_for(
                functools.partial(self._is_left, server.topic),
                f'nothing consumes from {server.topic}',
                seconds,
            )

    @contextlib.contextmanager
    def pipelined(self) -> Iterator[pipelined.Client]:
        """Give a client that can keep many calls in flight, and close it."""
        client = pipelined.Client(
            f'127.0.0.1:{self.broker.port}', 'guest', 'guest', '/', EXCHANGE
        )
        try:
            yield client
        finally:
            client.close()

    def _argv(
        self,
        kind: str,
        instance: str,
        extensions: Sequence[str],
        url: str,
        options: str,
    ) -> list[str]:
        venv = self._venvs[kind]
        if kind != OURS:
            return [
                str(venv.program('python')),
                str(PEER_SERVER),
                kind,
                url,
                EXCHANGE,
                topics.request_topic(instance),
                instance,
            ]
        config = self._folder / f'{instance}.conf'
        config.write_text(
            _CONFIG.format(
                url=url,
                instance=instance,
                exchange=EXCHANGE,
                extensions=','.join(extensions),
                state=self._folder / f'{instance}.state',
            )
            + (options or OPEN)
        )
        return [str(venv.program('guestagent')), '--config-file', str(config)]

    def _take_reports(self) -> None:
        """Do as a conductor that keeps up: each report is confirmed, none is kept."""
        with amqp.Connection(f'127.0.0.1:{self.broker.port}') as connection:
            channel = connection.channel()
            channel.exchange_declare(
                topics.REPORT_TOPIC, 'topic', durable=True, auto_delete=False
            )
            queue = topics.report_queue()
            channel.queue_declare(
                queue, durable=True, auto_delete=False, arguments={'x-message-ttl': 0}
            )
            channel.queue_bind(queue, topics.REPORT_TOPIC, queue)

    def _is_left(self, queue: str) -> bool:
        return not self._consumers(queue)

    def _consumers(self, queue: str) -> int:
        """Return how many consumers a queue has; 0 if there is no such queue."""
        with amqp.Connection(f'127.0.0.1:{self.broker.port}') as connection:
            try:
                return (
                    connection.channel()
                    .queue_declare(queue, passive=True)
                    .consumer_count
                )
            except amqp.NotFound:
                return 0
