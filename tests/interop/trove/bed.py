# SPDX-License-Identifier: Apache-2.0
"""A real control plane of Trove, and guests of it: one broker, conductor and database.

Trove runs in an environment of its own, because it loads eventlet.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import amqp
import pymysql

from devstack import databases, processes, servers, stack
from guestagent.bus import envelope

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
#: What ``devstack/prepare test`` makes.
TROVE = ROOT / 'build' / 'trove'

TROVE_CONF = """\
[DEFAULT]
transport_url = {url}
control_exchange = trove
trove_conductor_workers = 1
guest_config = {folder}/guest_config
agent_call_low_timeout = 60
[database]
connection = {database}
[oslo_messaging_notifications]
driver = messagingv2
"""

#: Of an extension in a process of its own; here none, as the server inherits them.
LIMITS = ('isolate_memory', 'isolate_cpu', 'isolate_cpu_time', 'isolate_idle')

#: The operator's file for guests; what follows is what a test needs beside it.
GUEST_CONF = """\
[DEFAULT]
transport_url = {url}
control_exchange = trove
report_interval = 30
storage_strategy = file
[{manager}]
docker_image = x
mount_point = {folder}/volume
guest_log_exposed_logs = all
"""


class Failed(Exception):
    """A call of the guest API failed.

    :ivar kind: the name of the exception's class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f'{kind}: {message}')
        self.kind = kind


class Plane:
    """Trove's conductor, and the calls of its API and task manager.

    :ivar url: the transport URL.
    :ivar rabbit: the broker.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        rabbit: servers.RabbitMQ,
        database: databases.MariaDB,
    ) -> None:
        self.folder, self.rabbit, self._database = folder, rabbit, database
        self.url = url = rabbit.add_vhost('trove')
        self.config = folder / 'trove.conf'
        self.config.write_text(
            TROVE_CONF.format(url=url, folder=folder, database=_sql(database))
        )
        (folder / 'guest_config').write_text('')
        (folder / 'backups').mkdir()
        subprocess.run(
            [TROVE / 'bin' / 'trove-manage', '--config-file', self.config, 'db_sync'],
            check=True,
            capture_output=True,
            timeout=120,
        )
        self._notifications: list[dict[str, Any]] = []
        self._watch_notifications()
        self.conductor = self._start_conductor()
        self._driver = subprocess.Popen(
            [
                TROVE / 'bin' / 'python',
                HERE / 'driver.py',
                '--config-file',
                self.config,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / 'driver.log').open('wb'),
            text=True,
        )
        self._read()
        self.wait_conductor()

    def ask(self, op: str, **arguments: Any) -> Any:
        """Have the driver do something.

        :raises Failed: it failed.
        """
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps({'op': op, **arguments}) + '\n')
        self._driver.stdin.flush()
        return self._read()

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """Return what Trove's database has."""
        connection = pymysql.connect(
            host='127.0.0.1', port=self._database.port, user='root', database='trove'
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def restart_conductor(self) -> None:
        """Stop the conductor and start it again."""
        self.conductor.stop()
        self.conductor = self._start_conductor()
        self.wait_conductor()

    def wait_conductor(self) -> None:
        """Wait until the conductor takes casts."""
        self.conductor.wait_for(
            lambda: stack.consumers(self.url, 'trove-conductor'), 'it takes casts', 60
        )

    def notifications(self) -> list[dict[str, Any]]:
        """Return Trove's own notifications, all that have come."""
        with self.connected() as connection:
            channel = connection.channel()
            while message := channel.basic_get('notifications.info', no_ack=True):
                body = json.loads(json.loads(message.body)['oslo.message'])
                self._notifications.append(body)
        return self._notifications

    def close(self) -> None:
        """Stop all of it."""
        assert self._driver.stdin is not None
        self._driver.stdin.close()
        self._driver.wait(30)
        self.conductor.stop()

    def _read(self) -> Any:
        assert self._driver.stdout is not None
        line = self._driver.stdout.readline()
        if not line:
            raise Failed('driver', (self.folder / 'driver.log').read_text()[-2000:])
        answer = json.loads(line)
        if 'error' in answer:
            raise Failed(answer['error'], answer['message'])
        return answer['result']

    def _start_conductor(self) -> processes.Process:
        return processes.Process(
            'trove-conductor',
            [TROVE / 'bin' / 'trove-conductor', '--config-file', self.config],
            self.folder / 'conductor.log',
        )

    def connected(self) -> amqp.Connection:
        """Return a connection to the broker."""
        parts = urllib.parse.urlsplit(self.url)
        return amqp.Connection(
            f'{parts.hostname}:{parts.port}', virtual_host=parts.path[1:]
        )

    def _watch_notifications(self) -> None:
        """Have a queue where Trove's own notifications go."""
        with self.connected() as connection:
            channel = connection.channel()
            name = 'notifications.info'
            channel.exchange_declare('trove', 'topic', auto_delete=False)
            channel.queue_declare(name, auto_delete=False)
            channel.queue_bind(name, 'trove', name)


def _sql(database: databases.MariaDB) -> str:
    """Make Trove's database; return its URL, as Trove's SQLAlchemy knows it."""
    return database.add('trove').replace('mariadb+', 'mysql+', 1)


class Guest:
    """An instance of Trove with this agent in it.

    :param secure: whether Trove gives it a key.
    :param manager: what Trove calls its kind of database.
    :param options: of the agent's own, by section and name; they win over a test's.
    :param program: the agent; ``None``: that of this environment.
    :ivar id: the instance's.
    """

    def __init__(
        self,
        plane: Plane,
        secure: bool,
        manager: str = 'mariadb',
        version: str = '10',
        options: stack.Options | None = None,
        program: pathlib.Path | None = None,
    ) -> None:
        self.plane, self.secure = plane, secure
        self._program = program or stack.script('guestagent')
        # The server's own user must get in.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-trove-'))
        self.folder.chmod(0o755)
        (plane.folder / 'guest_config').write_text(
            GUEST_CONF.format(url=plane.url, folder=self.folder, manager=manager)
        )
        made = plane.ask('create', secure=secure, manager=manager, version=version)
        self.id: str = made['id']
        self.config = self.folder / 'conf.d'
        self.config.mkdir()
        for path, text in made['files'].items():
            (self.config / pathlib.Path(path).name).write_text(text)
        # What Trove says of the user's network; Neutron would know it.
        (self.folder / 'eth1.json').write_text('{"ipv4_address": "127.0.0.1"}')
        self.own = self.folder / 'agent.conf'
        self.port = processes.free_port()
        self._write_own(options or {})
        self.agent: processes.Process | None = None

    def launch(self) -> processes.Process:
        """Start the agent; return at once."""
        self.agent = processes.Process(
            'agent',
            [
                self._program,
                '--config-file', self.own,
                '--config-dir', self.config,
            ],
            self.folder / 'agent.log',
        )  # fmt: skip
        return self.agent

    def start(self) -> None:
        """Start the agent, and wait until it takes requests."""
        agent = self.launch()
        queue = f'guestagent.{self.id}'
        agent.wait_for(
            lambda: (
                'connected to RabbitMQ' in agent.output()
                and stack.consumers(self.plane.url, queue)
            ),
            'it takes requests',
            60,
        )

    def prepare(self, **more: Any) -> None:
        """Prepare the instance, as Trove does before the guest has booted."""
        arguments = {
            'memory_mb': 256,
            'packages': '',
            'databases': None,
            'users': None,
            'device_path': None,
            'mount_point': str(self.folder / 'volume'),
            'ds_version': '10.11',
            **more,
        }
        self.cast('prepare', 'DBaaSInstanceCreate', **arguments)

    def kill(self) -> None:
        """End the agent as a crash would; the server runs on."""
        assert self.agent is not None
        os.kill(self.agent.pid, signal.SIGKILL)
        self.agent.wait_end()

    def call(self, method: str, **args: Any) -> Any:
        """Call a method of the guest API."""
        return self.plane.ask(
            'call', instance=self.id, method=method, args=args, values={}
        )

    def cast(
        self,
        method: str,
        notify: str | None = None,
        traits: Mapping[str, str] | None = None,
        **args: Any,
    ) -> None:
        """Call one that is a cast, with a notification of this class and traits."""
        self.plane.ask(
            'call',
            instance=self.id,
            method=method,
            args=args,
            values={},
            notify=notify,
            **(traits or {}),
        )

    def raw(
        self, method: str, requests: Mapping[str, Mapping[str, Any]]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Send calls as they are, and a last one; return the answers before its own.

        :param requests: more of each message, by a name.
        """
        with self.plane.connected() as connection:
            channel = connection.channel()
            queue = f'reply_{uuid.uuid4().hex}'
            channel.queue_declare(queue, exclusive=True)
            ping = {'method': 'oslo_rpc_server_ping', 'args': {}}
            for name, more in {**requests, 'last': ping}.items():
                fields = {
                    'method': method,
                    'version': '1.0',
                    '_msg_id': name,
                    '_reply_q': queue,
                    '_unique_id': uuid.uuid4().hex,
                    **more,
                }
                channel.basic_publish(
                    amqp.Message(envelope.wrap(fields)),
                    'trove',
                    f'guestagent.{self.id}',
                )
            found: list[tuple[str, dict[str, Any]]] = []
            # A ping may overtake what is looked up.
            while len(found) < 2:
                message = self.wait(lambda: channel.basic_get(queue, no_ack=True), 'it')
                reply = json.loads(json.loads(message.body)['oslo.message'])
                found.append((reply['_msg_id'], reply))
        return [one for one in found if one[0] != 'last']

    def status(self) -> str:
        """Return what Trove believes."""
        return str(self.plane.ask('status', instance=self.id))

    def wait_status(self, wanted: str, seconds: float = 60) -> None:
        """Wait until Trove believes this."""
        self.wait(lambda: self.status() == wanted, f'status {wanted}', seconds)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Wait; the agent's log is told if it does not happen."""
        assert self.agent is not None
        return self.agent.wait_for(condition, what, seconds)

    def has_ended(self, event: str) -> bool:
        """Whether Trove has sent this notification for an instance of this guest's.

        Not all of them name the instance: then one is enough.
        """
        return any(
            one['payload'].get('instance_id', self.id) == self.id
            for one in self.plane.notifications()
            if one['event_type'] == event
        )

    def query(self, statement: str) -> list[str]:
        """Ask the server itself; return its lines."""
        socket = next((self.folder / 'run').glob('*.sock'))
        done = subprocess.run(
            [
                'mariadb',
                '--no-defaults',
                '-N',
                '-B',
                f'--socket={socket}',
                '-e',
                statement,
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.splitlines()

    def login(self, user: str, password: str) -> bool:
        """Whether somebody can log in over the network."""
        done = subprocess.run(
            ['mariadb', '--no-defaults', '-h127.0.0.1', f'-P{self.port}', f'-u{user}',
             f'-p{password}', '-e', 'select 1'],
            capture_output=True,
            timeout=30,
            check=False,
        )  # fmt: skip
        return done.returncode == 0

    def remove(self) -> None:
        """Stop the agent, kill the server, delete all."""
        if self.agent is not None and self.agent.running:
            self.agent.stop()
        for path in ('run/pid', 'volume/data/postmaster.pid'):
            with contextlib.suppress(OSError):
                pid = (self.folder / path).read_text().split()[0]
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_own(self, more: stack.Options) -> None:
        """Write what a test needs beside Trove's files: folders of its own."""
        options: dict[str, dict[str, Any]] = {
            'DEFAULT': {'state_dir': self.folder / 'state'},
            'datastore': {
                'config_folder': self.folder / 'config',
                'run_folder': self.folder / 'run',
                'state_folder': self.folder / 'state-datastore',
                'log_folder': self.folder / 'log',
                'backup_folder': self.plane.folder / 'backups',
                'port': self.port,
                'listen': '127.0.0.1',
                'service': 'own',
            },
            'trove': {
                'heartbeat_interval': 1,
                'eth1_config': self.folder / 'eth1.json',
            },
        }
        if not self.secure:
            options['seal'] = {'allow_plain': True}
            # As the packages have it: the agent may be anybody, datastore is root's.
            options['datastore'] |= dict.fromkeys(LIMITS, 0) | {
                'isolate': True,
                'isolate_user': getpass.getuser(),
            }
        stack.write_config(self.own, options, more)
