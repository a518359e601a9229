# SPDX-License-Identifier: Apache-2.0
"""An instance of Trove with this agent in it."""

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
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import amqp

from devstack import processes, stack
from guestagent.bus import envelope
from tests.interop.trove import account
from tests.interop.trove import plane as planes

#: Of an extension in a process of its own; here none, as the server inherits them.
LIMITS = ('isolate_memory', 'isolate_cpu', 'isolate_cpu_time', 'isolate_idle')

#: The operator's file for guests; what follows is what a test needs beside it.
GUEST_CONF = """\
[DEFAULT]
transport_url = {url}
control_exchange = trove
report_interval = 30
storage_strategy = {storage}
[{manager}]
docker_image = x
mount_point = {folder}/volume
guest_log_exposed_logs = all
"""

#: What the task manager says at least.
PREPARE = {
    'memory_mb': 256,
    'packages': '',
    'databases': None,
    'users': None,
    'device_path': None,
    'mount_point': None,
    'ds_version': '10.11',
}


class Guest:
    """An instance of Trove with this agent in it.

    :param secure: whether Trove gives it a key.
    :param manager: what Trove calls its kind of database.
    :param options: of the agent's own, by section and name; they win over a test's.
    :param program: the agent; ``None``: that of this environment.
    :param swift: where its backups and logs go; ``None``: into a folder.
    :param under: a program, and its arguments, that starts the agent.
    :ivar id: the instance's.
    :ivar storage: what Trove calls where its backups go.
    """

    def __init__(
        self,
        plane: planes.Plane,
        secure: bool,
        manager: str = 'mariadb',
        version: str = '10',
        options: stack.Options | None = None,
        program: pathlib.Path | None = None,
        swift: account.Account | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self.plane, self.secure, self.swift = plane, secure, swift
        self._argv = (*under, str(program or stack.script('guestagent')))
        self.storage = 'swift' if swift else 'file'
        # The server's own user must get in.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-trove-'))
        self.folder.chmod(0o755)
        (plane.folder / 'guest_config').write_text(
            GUEST_CONF.format(
                url=plane.url, folder=self.folder, manager=manager, storage=self.storage
            )
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

    def launch(self, env: Mapping[str, str] | None = None) -> processes.Process:
        """Start the agent; return at once."""
        self.agent = processes.Process(
            'agent',
            [*self._argv, '--config-file', self.own, '--config-dir', self.config],
            self.folder / 'agent.log',
            env=env,
        )
        return self.agent

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start the agent, and wait until it takes requests.

        :param env: its environment; ``None``: that of the test.
        """
        self.launch(env)
        self.wait_started()

    def wait_started(self) -> None:
        """Wait until the agent takes requests."""
        queue = f'guestagent.{self.id}'
        self.wait(
            lambda: (
                'connected to RabbitMQ' in self.log()
                and stack.consumers(self.plane.url, queue)
            ),
            'it takes requests',
        )

    def log(self) -> str:
        """Return what the agent has logged since it started."""
        assert self.agent is not None
        return self.agent.output()

    def state(self) -> dict[str, Any]:
        """Return what the agent keeps of the instance; empty before it keeps any."""
        path = self.folder / 'state' / 'trove' / 'state.json'
        return json.loads(path.read_text()) if path.exists() else {}

    def prepare(self, **more: Any) -> None:
        """Prepare the instance, as Trove does before the guest has booted."""
        place = str(self.folder / 'volume')
        arguments = {**PREPARE, 'mount_point': place, **more}
        self.cast('prepare', 'DBaaSInstanceCreate', **arguments)

    def kill(self) -> None:
        """End the agent as a crash would; the server runs on."""
        assert self.agent is not None
        os.kill(self.agent.pid, signal.SIGKILL)
        self.agent.wait_end()

    def call(self, method: str, **args: Any) -> Any:
        """Call a method of the guest API."""
        return self.plane.ask(
            'call', instance=self.id, method=method, args=args, values=self.context()
        )

    def context(self) -> dict[str, Any]:
        """Return what of the user's context leads to the storage."""
        return self.swift.context() if self.swift else {}

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
            values=self.context(),
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

    def wait_status(self, wanted: str, seconds: float = 180) -> None:
        """Wait until Trove believes this."""
        self.wait(lambda: self.status() == wanted, f'status {wanted}', seconds)

    def wait(
        self, condition: Callable[[], Any], what: str, seconds: float = 180
    ) -> Any:
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
            timeout=120,
            check=True,
        )
        return done.stdout.splitlines()

    def login(self, user: str, password: str) -> bool:
        """Whether somebody can log in over the network."""
        done = subprocess.run(
            ['mariadb', '--no-defaults', '-h127.0.0.1', f'-P{self.port}', f'-u{user}',
             f'-p{password}', '-e', 'select 1'],
            capture_output=True,
            timeout=120,
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
