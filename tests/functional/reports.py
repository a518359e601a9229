# SPDX-License-Identifier: Apache-2.0
"""Reports as guests send them, and what a conductor is asked about them."""

import contextlib
import itertools
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Self

import amqp

from devstack import processes
from guestagent import errors
from guestagent.bus import envelope

EXCHANGE, QUEUE = 'guestagent_reports', 'guestagent_reports.info'

Query = Callable[..., Any]


class Publisher:
    """Publishes reports as an agent does: persistent, mandatory, confirmed."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._connection = amqp.Connection(
            f'{parts.hostname}:{parts.port}',
            userid=parts.username,
            password=parts.password,
            virtual_host=parts.path[1:],
            confirm_publish=True,
        )
        self._connection.connect()
        self.channel = self._connection.channel()

    def send(self, body: str | bytes) -> None:
        self.channel.basic_publish(
            amqp.Message(
                body,
                delivery_mode=2,
                content_type='application/json',
                content_encoding='utf-8',
            ),
            EXCHANGE,
            QUEUE,
            mandatory=True,
        )

    def post(self, body: str | bytes) -> None:
        """Send it without waiting for the broker's confirm."""
        amqp.Channel.basic_publish(
            self.channel, amqp.Message(body, delivery_mode=2), EXCHANGE, QUEUE
        )

    def depth(self) -> int:
        """Return how many messages wait in the queue, those not taken yet."""
        return self.channel.queue_declare(QUEUE, passive=True).message_count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A broker that was stopped meanwhile has closed it already.
        with contextlib.suppress(OSError, amqp.AMQPError):
            self._connection.close()


class Guest:
    """Makes the reports of one instance, in order."""

    def __init__(
        self,
        publisher: Publisher,
        name: str,
        generation: str = 'one',
        interval: float = 30,
        boot_id: str = 'boot-1',
    ) -> None:
        self.name = name
        self.generation = generation
        self.interval = interval
        self.boot_id = boot_id
        self._publisher = publisher
        self._sequences: dict[str, Iterator[int]] = {}

    def restart(self, generation: str) -> None:
        self.generation = generation
        self._sequences.clear()

    def skip_to(self, sequence: int) -> None:
        """Let the next report of each kind have this sequence."""
        for kind in self._sequences:
            self._sequences[kind] = itertools.count(sequence)

    def make(self, kind: str, data: dict[str, Any]) -> str:
        sequence = next(self._sequences.setdefault(kind, itertools.count(1)))
        return envelope.notification(
            f'guestagent.{self.name}',
            f'guestagent.{kind}',
            {
                'instance': self.name,
                'kind': kind,
                'generation': self.generation,
                'sequence': sequence,
                'boot_id': self.boot_id,
                'sent': time.time(),
                'data': data,
            },
            envelope.unique_id(),
        )

    def make_heartbeat(self, status: str = 'running', **extensions: str) -> str:
        return self.make(
            'heartbeat',
            {
                'status': status,
                'agent_version': '0.1.0',
                'interval': self.interval,
                'started': 1700000000.0,
                'dropped': 0,
                'extensions': {
                    name: {
                        'version': '1.0',
                        'health': health,
                        'distribution': f'guestagent-{name}',
                        'distribution_version': '0.1.0',
                    }
                    for name, health in extensions.items()
                },
            },
        )

    def make_facts(self, full: bool, **facts: Any) -> str:
        return self.make(
            'facts',
            {
                'full': full,
                'facts': {f'monitoring.{name}': value for name, value in facts.items()},
            },
        )

    def make_outcome(self, command_id: str, result: Any, caller: str = 'tester') -> str:
        return self.make(
            'outcome',
            {
                'command_id': command_id,
                'caller': caller,
                'command': 'exec.run',
                'digest': 'd' * 64,
                'outcome': 'done',
                'result': result,
                'error': None,
                'started': 1700000001.5,
                'seconds': 0.25,
            },
        )

    def make_event(self, name: str, **data: Any) -> str:
        return self.make(
            'event', {'type': f'test.{name}', 'at': 1700000002.0, 'data': data}
        )

    def heartbeat(self, status: str = 'running', **extensions: str) -> None:
        self._publisher.send(self.make_heartbeat(status, **extensions))

    def facts(self, full: bool, **facts: Any) -> None:
        self._publisher.send(self.make_facts(full, **facts))

    def outcome(self, command_id: str, result: Any, caller: str = 'tester') -> None:
        self._publisher.send(self.make_outcome(command_id, result, caller))

    def event(self, name: str, **data: Any) -> None:
        self._publisher.send(self.make_event(name, **data))


def state(query: Query, name: str) -> str | None:
    try:
        return query('instance_show', instance=name)['state']
    except errors.NoSuchInstance:
        return None


def events(query: Query, name: str) -> list[dict[str, Any]]:
    try:
        return query('event_list', instance=name, limit=1000)['events']
    except errors.NoSuchInstance:
        return []


def wait_state(query: Query, name: str, wanted: str) -> None:
    processes.wait_for(lambda: state(query, name) == wanted, f'{name} is {wanted}')
