# SPDX-License-Identifier: Apache-2.0
"""One guest for all tests, and who speaks with it."""

import base64
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes, stack
from tests.functional.packages import conftest, debian
from tests.guest import machine
from tests.interop.qga import agents


@dataclasses.dataclass
class Guest:
    """A guest that runs, with a client of qemu-ga's at its port.

    :ivar machine: its process.
    :ivar hub: the hub on the host.
    :ivar client: at the port of qemu-ga's clients.
    """

    machine: machine.Machine
    hub: stack.Hub
    client: agents.Client

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """Return what a command of qemu-ga's returns; underscores are dashes."""
        said = self.client.ask(command, **arguments)
        assert 'return' in said, said
        return said['return']

    def shell(self, script: str, stdin: str = '') -> str:
        """Run a script as ``guest-exec`` does, and return its output.

        :raises devstack.processes.Failed: it fails.
        """
        pid = self.ask(
            'guest-exec',
            path='/bin/sh',
            arg=['-ec', script],
            input_data=base64.b64encode(stdin.encode()).decode(),
            capture_output=True,
        )['pid']
        done = processes.wait_for(lambda: self._ended(pid), script, machine.LONG)
        text = base64.b64decode(done.get('out-data', '')).decode()
        if done['exitcode']:
            raise processes.Failed(f'{script}: {text} {done}')
        return text

    def _ended(self, pid: int) -> Any:
        found = self.ask('guest-exec-status', pid=pid)
        return found if found['exited'] else None

    def connect(self) -> None:
        """Close the host's end of qemu-ga's port, and open it again."""
        self.client.close()
        self.client = self.machine.client()


@pytest.fixture(scope='session')
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest whose agent answers; the last test may switch it off."""
    folder = tmp_path_factory.mktemp('guest')
    try:
        machine.check()
        tree = machine.tree(folder / 'root')
    except debian.Unavailable as error:
        pytest.exit(str(error), returncode=1)
    conftest.check_python(tree)
    output = tmp_path_factory.mktemp('packages')
    conftest.build(output)
    packages = {path.name.partition('_')[0]: path for path in output.glob('*.deb')}
    machine.install(tree, packages)
    machine.disk(tree, folder)
    tree.remove()
    hub = stack.Hub(folder, '--guest', machine.INSTANCE)
    made = machine.Machine(folder, hub.guest_socket(machine.INSTANCE))
    try:
        yield Guest(made, hub, made.client())
    finally:
        # Of which a failed test says little.
        print(made.tail(80), hub.tail(), sep='\n')
        made.kill()
        hub.stop()
        (folder / 'disk.raw').unlink()


@pytest.fixture(scope='session')
def stock(guest: Guest) -> Iterator[Callable[..., Any]]:
    """``stock('exec.run', argv=[...])``: a call of a stock client through the hub."""
    cfg.CONF([])
    transport = oslo_messaging.get_rpc_transport(
        cfg.CONF, guest.hub.url, allowed_remote_exmods=['guestagent.errors']
    )

    def call(name: str, **arguments: Any) -> Any:
        namespace, _, method = name.partition('.')
        target = oslo_messaging.Target(
            exchange='guestagent',
            topic=f'guestagent.{machine.INSTANCE}',
            namespace=namespace,
        )
        client = oslo_messaging.get_rpc_client(transport, target, timeout=machine.LONG)
        return client.call({}, method, **arguments)

    yield call
    transport.cleanup()
