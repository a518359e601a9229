# SPDX-License-Identifier: Apache-2.0
"""guestctl in this process, with stock servers in place of guest and conductor."""

import base64
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import oslo_messaging
import pytest

from guestagent import errors
from guestagent.bus import topics
from guestagent.ctl import app, base

TIME = '2026-01-02T03:04:05Z'
#: Of an instance whose id two agents have.
CONFLICT = {'since': TIME, 'generations': [2, 1], 'boot_ids': ['b', 'a']}


class Ended(NamedTuple):
    """How a run of guestctl ended."""

    code: int
    out: bytes
    err: str


class ExecStandIn:
    """Answers ``exec.run`` with ``answer``, and keeps the arguments."""

    target = oslo_messaging.Target(namespace='exec', version='1.0')

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.contexts: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.running: list[dict[str, Any]] = []
        self.answer = {
            'exit_code': 0,
            'signal': None,
            'timed_out': False,
            'stdout': '',
            'stdout_encoding': 'utf-8',
            'stdout_truncated': False,
            'stderr': '',
            'stderr_encoding': 'utf-8',
            'stderr_truncated': False,
            'seconds': 0.1,
        }

    def run(self, ctxt: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        self.contexts.append(ctxt)
        self.arguments = arguments
        if self.error is not None:
            raise self.error
        return self.answer

    def print(self, stdout: bytes) -> None:
        """Let it answer with these bytes as its output."""
        self.answer |= {
            'stdout': base64.b64encode(stdout).decode(),
            'stdout_encoding': 'base64',
        }


class TestStandIn:
    """Answers ``test.*``."""

    target = oslo_messaging.Target(namespace='test', version='1.0')

    def echo(self, ctxt: dict[str, Any], **arguments: Any) -> Any:
        return arguments

    def refuse(self, ctxt: dict[str, Any]) -> None:
        raise errors.Refused('policy: not you')

    def late(self, ctxt: dict[str, Any]) -> None:
        raise errors.CommandTimeout('test.late did not end within 5 s')

    def give(self, ctxt: dict[str, Any], value: Any) -> Any:
        return value

    def text(self, ctxt: dict[str, Any]) -> None:
        raise errors.GuestError('first line\nsecond line')


class AgentStandIn:
    """Answers ``agent.*``: of one extension, and of the commands in ``running``."""

    target = oslo_messaging.Target(namespace='agent', version='1.0')

    def __init__(self, running: list[dict[str, Any]]) -> None:
        self._running = running

    def list(self, ctxt: dict[str, Any]) -> Any:
        return self._running

    def status(
        self, ctxt: dict[str, Any], command_id: str, caller: str = ''
    ) -> dict[str, Any]:
        for record in self._running:
            if (record['command_id'], record['caller']) == (command_id, caller):
                return record
        raise errors.NoSuchRecord(f'this agent knows no command {command_id!r}')

    def cancel(
        self, ctxt: dict[str, Any], command_id: str, caller: str | None = None
    ) -> dict[str, int]:
        found = [
            record
            for record in self._running
            if record['command_id'] == command_id and caller in (None, record['caller'])
        ]
        for record in found:
            self._running.remove(record)
        return {'cancelled': len(found)}

    def diagnose(self, ctxt: dict[str, Any]) -> dict[str, Any]:
        return {
            'instance': 'vm-1',
            'bus': {'kind': 'amqp', 'connected': False, 'connects': 2},
            'threads': [
                {'name': 'worker', 'at': 'exec.\x1b', 'seconds': 1, 'stack': ['a:1 b']}
            ],
        }

    def describe(self, ctxt: dict[str, Any], extension: str) -> dict[str, Any]:
        if extension != 'exec':
            raise errors.NoSuchRecord(f'this agent has no extension {extension!r}')
        return {
            'name': 'exec',
            'version': '1.0',
            'doc': 'Runs programs.',
            'health': 'ok',
            'distribution': 'guestagent-exec',
            'distribution_version': '0.1.0',
            'commands': [
                {
                    'name': 'run',
                    'doc': 'Run a program.\n\nMore.',
                    'mutates': True,
                    'repeatable': False,
                    'timeout': None,
                    'returns': 'dict',
                    'arguments': [
                        {
                            'name': 'argv',
                            'type': 'list[str]',
                            'required': True,
                            'default': None,
                        },
                        {
                            'name': 'cwd',
                            'type': 'str',
                            'required': False,
                            'default': '/',
                        },
                    ],
                }
            ],
        }


class PingStandIn:
    """As oslo.messaging's own endpoint."""

    def oslo_rpc_server_ping(self, ctxt: dict[str, Any]) -> str:
        return 'pong'


class ConductorStandIn:
    """A conductor with one instance that is UP and one that is DOWN."""

    target = oslo_messaging.Target(namespace='conductor', version='1.0')

    def __init__(self) -> None:
        self.instances = {
            name: {
                'id': name,
                'state': state,
                'agent_version': '0.1.0',
                'first_seen': TIME,
                'last_seen': TIME,
                'boot_id': 'b',
                'started': TIME,
                'conflict': CONFLICT if name == 'vm-2' else None,
            }
            for name, state in (('vm-1', 'UP'), ('vm-2', 'DOWN'))
        }
        self.outcome = 'done'
        self.asked: dict[str, Any] = {}
        self.steps: list[Any] = []

    def instance_list(
        self,
        ctxt: dict[str, Any],
        limit: int,
        state: str | None = None,
        marker: str | None = None,
        **filters: Any,
    ) -> dict[str, Any]:
        self.asked = filters
        names = [
            name
            for name in sorted(self.instances)
            if name > (marker or '') and state in (None, self.instances[name]['state'])
        ]
        page = [
            {**self.instances[name], 'extensions': ['exec', 'monitoring']}
            for name in names[:limit]
        ]
        return {
            'instances': page,
            'next': page[-1]['id'] if len(names) > limit else None,
        }

    def instance_show(self, ctxt: dict[str, Any], instance: str) -> dict[str, Any]:
        if instance not in self.instances:
            raise errors.NoSuchInstance(f'no instance {instance!r}')
        extensions = {
            'exec': {
                'version': '1.0',
                'health': 'ok',
                'distribution': 'guestagent-exec',
                'distribution_version': '0.1.0',
            }
        }
        return {
            **self.instances[instance],
            'generation': 'g',
            'interval': 30,
            'extensions': extensions,
        }

    def instance_delete(
        self, ctxt: dict[str, Any], instance: str, force: bool
    ) -> dict[str, Any]:
        state = self.instance_show(ctxt, instance)['state']
        if state == 'UP' and not force:
            raise errors.Refused(f'instance {instance!r} is UP: force it')
        del self.instances[instance]
        return {'deleted': instance, 'state': state}

    def _step(self) -> Any:
        """Return the next of ``steps``, or raise it."""
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def facts_get(
        self, ctxt: dict[str, Any], instance: str, prefix: str = ''
    ) -> dict[str, Any]:
        if self.steps:
            return {'facts': self._step()}
        facts = {
            'monitoring.hostname': 'böx',
            'monitoring.cpus': 2,
            'monitoring.nics': [{'name': 'eth0'}],
            'other.flag': True,
        }
        return {
            'facts': {
                key: {'value': value, 'updated': TIME}
                for key, value in facts.items()
                if key.startswith(prefix)
            }
        }

    def command_show(
        self,
        ctxt: dict[str, Any],
        instance: str,
        command_id: str,
        caller: str | None = None,
    ) -> dict[str, Any]:
        if self.steps:
            return self._step()
        if command_id == 'none':
            raise errors.NoSuchRecord(f'no command {command_id!r} of {instance!r}')
        return {
            'command_id': command_id,
            'caller': caller,
            'command': 'test.echo',
            'outcome': self.outcome,
            'result': {'a': 1},
            'error': None,
        }

    def command_list(
        self, ctxt: dict[str, Any], limit: int, **filters: Any
    ) -> dict[str, Any]:
        self.asked = filters
        return {
            'commands': [
                {
                    'instance': 'vm-1',
                    'command_id': 'c-1',
                    'caller': '',
                    'command': 'test.echo',
                    'outcome': 'done',
                    'started': TIME,
                    'seconds': 0.5,
                }
            ],
            'next': None,
        }

    def event_list(
        self,
        ctxt: dict[str, Any],
        limit: int,
        instance: str | None = None,
        after: str | None = None,
        newest: bool = False,
        **filters: Any,
    ) -> dict[str, Any]:
        self.asked = filters
        if self.steps:
            return {'events': self._step(), 'next': None}
        first = int(after or 0) + 1
        page = [
            {
                'id': number,
                'instance': 'vm-1',
                'at': TIME,
                'type': 'test.happened',
                'data': {'a': number},
            }
            for number in range(first, 251)
        ]
        page = page[-limit:] if newest else page[:limit]
        return {
            'events': page,
            'next': str(page[-1]['id']) if len(page) == limit and not newest else None,
        }


@pytest.fixture
def conductor(serve: Callable[..., None]) -> ConductorStandIn:
    endpoint = ConductorStandIn()
    serve(topics.CONDUCTOR_TOPIC, endpoint)
    return endpoint


@pytest.fixture
def guest(serve: Callable[..., None]) -> ExecStandIn:
    """The guest vm-1; what it returns is the endpoint of ``exec``."""
    endpoint = ExecStandIn()
    serve(
        'guestagent.vm-1',
        endpoint,
        TestStandIn(),
        AgentStandIn(endpoint.running),
        PingStandIn(),
    )
    return endpoint


@pytest.fixture
def ctl(
    exchange: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Iterator[Callable[..., Ended]]:
    """``ctl(*arguments)``: run guestctl on the fake driver."""
    monkeypatch.setenv('GUESTAGENT_TRANSPORT_URL', 'fake://')
    monkeypatch.setenv('GUESTAGENT_EXCHANGE', exchange)
    monkeypatch.setenv('GUESTAGENT_CALLER', 'tester')
    monkeypatch.setattr(base, 'CONFIG_FILE', str(tmp_path / 'guestctl.conf'))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # A conductor that another test made in this process has set its own.
    monkeypatch.setattr(logging.getLogger('oslo_messaging'), 'level', logging.NOTSET)

    def run(*arguments: str) -> Ended:
        try:
            code = app.main(list(arguments))
        except SystemExit as end:
            code = end.code or 0
        out, err = capsysbinary.readouterr()
        return Ended(code, out, err.decode())

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
