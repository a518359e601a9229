# SPDX-License-Identifier: Apache-2.0
"""A broker with its HTTP API, a conductor with keys, and guests that enrol."""

import dataclasses
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import pytest

from devstack import processes, servers, stack
from guestagent import client
from guestagent.bus import envelope, url
from guestagent.ctl import rabbitmq
from guestagent.seal import guest, keys, window
from tests.functional import conftest as functional

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
CONDUCTOR = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))
TOKEN_PASSWORD = 'only-for-tokens'


@pytest.fixture(scope='session')
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RabbitMQ]:
    """A node with the HTTP API, in place of the one of other tests."""
    node = servers.RabbitMQ(tmp_path_factory.mktemp('rabbitmq'), management=True)
    yield node
    node.stop()


def write_keys(path: pathlib.Path, *lines: keys.Line) -> str:
    """Write a file of keys."""
    path.write_text(''.join(f'{line}\n' for line in lines))
    path.chmod(0o600)
    return str(path)


@dataclasses.dataclass
class Bed:
    """What an operator has, and what guests do."""

    folder: pathlib.Path
    node: servers.RabbitMQ
    bus_url: str
    children: list[processes.Process]

    def __post_init__(self) -> None:
        self.vhost = self.bus_url.rpartition('/')[2]
        self.number = self.vhost.rpartition('-')[2]
        self.nova = write_keys(self.folder / 'nova.keys', NOVA)
        self.conductor_keys = write_keys(self.folder / 'conductor.keys', CONDUCTOR)
        self.api = rabbitmq.Api(self.node.management_url)
        self.config = self.folder / 'guestctl.conf'
        self.write_config()

    def url(self, user: str, password: str) -> str:
        return f'rabbit://{user}:{password}@127.0.0.1:{self.node.port}/{self.vhost}'

    def options(self) -> dict[str, object]:
        return {
            'key_files': f'{self.nova},{self.conductor_keys}',
            'guest_url': self.bus_url,
            'token_url': self.url(f'enroll-{self.number}', TOKEN_PASSWORD),
            'management_url': self.node.management_url,
            'vhost_users': 'guest',
        }

    def write_config(self, **options: object) -> None:
        stack.write_config(
            self.config,
            {
                'DEFAULT': {'transport_url': self.bus_url},
                'oslo_messaging_rabbit': {'amqp_durable_queues': True},
                'enroll': {**self.options(), **options},
            },
        )

    def guestctl(self, *arguments: str) -> 'subprocess.CompletedProcess[str]':
        return stack.guestctl(
            self.bus_url, '--config-file', str(self.config), *arguments
        )

    def done(self, *arguments: str) -> str:
        """Run guestctl, which must succeed; return what it prints."""
        ended = self.guestctl(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def token(self, name: str, *options: str) -> str:
        return self.done('instance', 'enroll', name, '-f', 'token', *options).strip()

    def conductor(self, listen: str = '', **options: object) -> stack.Conductor:
        child = stack.Conductor(
            self.folder,
            self.bus_url,
            {
                'seal': {'key_file': self.conductor_keys},
                'conductor': {'sweep_interval': 0.5, **options},
                'metrics': {'listen': listen},
                'oslo_messaging_rabbit': {'amqp_durable_queues': True},
            },
        )
        self.children.append(child)
        child.wait_ready()
        child.wait_line('answering queries on topic guestagent_enroll')
        return child

    def token_file(self, name: str) -> pathlib.Path:
        return self.folder / f'{name}.token'

    def give_token(self, name: str, text: str) -> None:
        """Put a token where a guest waits for it; it must never see half of it."""
        path = self.token_file(name)
        new = path.with_suffix('.new')
        new.touch(0o600)
        new.write_text(text)
        new.rename(path)

    def agent(self, name: str, **options: Any) -> stack.Agent:
        """Start a guest that knows nothing but where its token will be."""
        child = stack.Agent(
            self.folder,
            'rabbit://nobody:nothing@127.0.0.1:1/',
            name,
            {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'probe': {'marks': self.folder / f'{name}.marks'},
                'enroll': {'token_file': self.token_file(name)},
                'oslo_messaging_rabbit': {
                    'amqp_durable_queues': True,
                    'kombu_reconnect_delay': 0.2,
                    'kombu_reconnect_splay': 0,
                },
                **options,
            },
            functional.PROBE,
        )
        self.children.append(child)
        return child

    def enrolled(self, name: str, *options: str) -> stack.Agent:
        """Start a guest and wait until it takes requests."""
        self.token_file(name).write_text(self.token(name, *options))
        child = self.agent(name)
        child.wait_line('is enrolled')
        child.wait_line('connected to RabbitMQ')
        return child

    def state_of(self, name: str) -> str | None:
        """Return the state that the conductor has of a guest."""
        listed = self.done('instance', 'list', '-f', 'value', '-c', 'id', '-c', 'state')
        return dict(line.split() for line in listed.splitlines()).get(name)

    def events(self, name: str) -> list[str]:
        """Return the types of the events of an instance."""
        listed = self.done(
            *('event', 'list', '--limit', '10000'),
            *('-f', 'value', '-c', 'instance', '-c', 'type'),
        )
        return [
            kind
            for instance, kind in (line.split() for line in listed.splitlines())
            if instance == name
        ]

    def marks(self, name: str) -> list[str]:
        path = self.folder / f'{name}.marks'
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def bed(
    tmp_path: pathlib.Path,
    rabbit: servers.RabbitMQ,
    bus_url: str,
    children: list[processes.Process],
) -> Iterator[Bed]:
    made = Bed(tmp_path, rabbit, bus_url, children)
    yield made
    # Accounts are those of the whole broker, which other tests use as well.
    for kind in ('users', 'vhosts'):
        for one in made.api.get(kind):
            if one['name'].startswith('guestagent.'):
                made.api.delete(kind, one['name'])


@pytest.fixture
def nova(bed: Bed) -> Iterator[Callable[[str], client.Client]]:
    """``nova(url)``: a control plane on that bus, which seals."""
    made: list[client.Client] = []

    def connect(url: str = bed.bus_url) -> client.Client:
        durable = f'{url}?amqp_durable_queues=true'
        made.append(client.Client(url=durable, key_file=bed.nova))
        return made[-1]

    yield connect
    for one in made:
        one.close()


class Hostile:
    """Somebody who has all that a guest has, and tries what that is good for."""

    own_queue = 'guestagent.vm-a'

    def __init__(self, bed: Bed, child: stack.Agent, vhost: str | None = None) -> None:
        fields = json.loads((child.state / 'enrolled').read_text())
        where = url.parse(fields['url'])
        broker = where.brokers[0]
        self.lines = (child.state / 'keys').read_text()
        self._options = {
            'host': str(broker),
            'userid': broker.username,
            'password': broker.password,
            'virtual_host': where.virtual_host if vhost is None else vhost,
        }
        self.connection = self.connect()
        self._open: amqp.Channel | None = None

    def connect(self) -> amqp.Connection:
        made = amqp.Connection(**self._options, connect_timeout=60, read_timeout=60)
        made.connect()
        return made

    def may(self, method: str, *args: Any, **kwargs: Any) -> bool:
        """Whether the broker lets it call this method of a channel."""
        channel = self.connection.channel()
        try:
            getattr(channel, method)(*args, **kwargs)
            if method == 'basic_publish':
                # It has no answer of its own; what comes after it does.
                channel.queue_declare(self.own_queue, passive=True)
        except (amqp.AccessRefused, amqp.PreconditionFailed):
            return False
        finally:
            if channel.is_open:
                channel.close()
        return True

    def channel_publish(self, exchange: str, key: str, body: str) -> None:
        """Publish where that is known to be allowed."""
        if self._open is None:
            self._open = self.connection.channel()
        self._open.basic_publish(amqp.Message(body), exchange, key)

    def publish(self, exchange: str, key: str, body: str) -> bool:
        message = amqp.Message(
            body, content_type='application/json', content_encoding='utf-8'
        )
        return self.may('basic_publish', message, exchange, key)


def request(method: str, namespace: str, **args: Any) -> str:
    """Return a plain request as it stands on the wire."""
    return envelope.wrap(
        {
            'method': method,
            'namespace': namespace,
            'version': '1.0',
            'args': args,
            '_unique_id': os.urandom(16).hex(),
        }
    )


def forged_reports(hostile: Hostile, victim: str) -> list[str]:
    """Return reports in the name of another: in plain, and with the own key."""
    payload = {
        'instance': victim,
        'kind': 'event',
        'id': os.urandom(8).hex(),
        'generation': 'forged',
        'sequence': 1,
        'boot_id': '',
        'sent': time.time(),
        'data': {'type': 'probe.forged', 'at': time.time(), 'data': {}},
    }
    ring = guest.Guest(
        'vm-a', keys.GuestRing(keys.parse(hostile.lines, 'keys')), window.Limits(1, 1)
    )
    sealed = ring.report(payload, time.time())
    return [
        envelope.notification(
            f'guestagent.{victim}', 'guestagent.event', one, os.urandom(8).hex()
        )
        for one in (payload, {**sealed, 'instance': victim}, sealed)
    ]
