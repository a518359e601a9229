# SPDX-License-Identifier: Apache-2.0
"""Guests on a hub beside guests, or a stock server, on RabbitMQ."""

import contextlib
import dataclasses
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from devstack import processes
from guestagent.bus import topics, where
from guestagent.bus.driver import line
from tests.benchmarks import bed, process, registry, report, rounds, stock

GUESTS = pathlib.Path(__file__).with_name('guests.py')
IDLE_GUESTS = 1000
RABBITMQ = 'rabbitmq'

#: Of one caller, in each round.
CALLS = 80
#: Of each of several, in each round.
CALLERS, CALLS_OF_EACH = 32, 20

#: Seconds until a server that consumes has done all that its start entails.
SETTLE = 2.0


class Hub:
    """A hub as an operator has it; a context manager that ends it.

    :param guests: who has a socket there.
    """

    def __init__(self, ground: bed.Bed, guests: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix='hub-')
        folder = pathlib.Path(self._folder.name)
        self.url = f'channel://{folder}/hub'
        argv: list[str | pathlib.Path] = [
            ground.program(bed.OURS, 'guestagent-hub'),
            *('--listen', folder / 'hub'),
        ]
        for guest in guests:
            argv += ['--guest', guest]
        self.process = processes.Process('hub', argv, folder / 'hub.log')

    def __enter__(self) -> Self:
        self.process.wait_line('hub in ')
        self._line = line.Line(where.programs_socket(self.url))
        self._line.greet()
        threading.Thread(target=self._take_reports, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._folder.cleanup()

    def _take_reports(self) -> None:
        """Do as a conductor that keeps up, and keep none; until the hub has gone."""
        topic = topics.report_queue()
        address = {'exchange': topics.REPORT_TOPIC, 'topic': topic, 'noack': True}
        with contextlib.suppress(OSError):
            self._line.send({'op': 'consume', 'sub': 1, 'prefetch': 100, **address})
            while self._line.read():
                pass
        self._line.close()


@contextlib.contextmanager
def _ways(ground: bed.Bed) -> Iterator[dict[str, tuple[stock.Client, str]]]:
    """Give two ways, each as a stock client and the topic that it calls: through a hub
    to our agent, and through RabbitMQ to a stock server."""
    peer = ground.start(bed.A)
    with Hub(ground, ['vm-1']) as hub:
        agent = ground.start(bed.OURS, hub=hub.url, instance='vm-1')
        client = stock.Client(hub.url, bed.EXCHANGE)
        try:
            yield {bed.OURS: (client, agent.topic), bed.A: (ground.stock, peer.topic)}
        finally:
            client.close()


@registry.benchmark('channel-p50', 'channel-calls-32')
def calls(ground: bed.Bed) -> Iterator[report.Row]:
    """The same client, its calls through a hub and through RabbitMQ."""
    kinds = (bed.OURS, bed.A)
    with _ways(ground) as ways:

        def p50(kind: str) -> float:
            client, topic = ways[kind]
            return client.p50(topic, CALLS)

        def rate(kind: str) -> float:
            client, topic = ways[kind]
            started = time.perf_counter()
            client.burst(topic, CALLERS, CALLS_OF_EACH)
            return CALLERS * CALLS_OF_EACH / (time.perf_counter() - started)

        for client, topic in ways.values():
            client.call(topic, 300)
            client.burst(topic, CALLERS, CALLS_OF_EACH)
        times = rounds.sample(kinds, ground.rounds(60), p50)
        rates = rounds.sample(kinds, ground.rounds(20), rate)
    bound, note = report.Target('ratio', '<=', 0.25), 'one stock client, '
    yield report.compare(
        'channel-p50', bed.A, times, 'ms', bound, note + f'{CALLS} calls a round'
    )
    bound = report.Target('ratio', '>=', 4)
    each = f'{CALLERS} threads, {CALLS_OF_EACH} calls each a round'
    yield report.compare(
        'channel-calls-32', bed.A, rates, 'calls/s', bound, note + each
    )


@registry.benchmark('hub-rss')
def hub_memory(ground: bed.Bed) -> Iterator[report.Row]:
    """What carries a thousand guests that are connected and do nothing."""
    count = 50 if ground.quick else IDLE_GUESTS

    def with_guests(url: str, pid: int) -> float:
        with _guests(ground, url, count):
            time.sleep(SETTLE)
            return process.memory(pid).rss

    def measure(kind: str) -> float:
        if kind == bed.OURS:
            with Hub(ground, [f'idle-{number}' for number in range(count)]) as hub:
                return with_guests(hub.url, hub.process.pid)
        with ground.another() as node:
            return with_guests(node.url, node.broker.pid)

    samples = rounds.sample((bed.OURS, RABBITMQ), ground.rounds(2), measure)
    note = f"{count} guests with the agent's own bus, never called"
    yield _beside_rabbitmq('hub-rss', samples, 0.1, note)


@registry.benchmark('channel-rss-idle')
def agent_memory(ground: bed.Bed) -> Iterator[report.Row]:
    """The agent on a hub beside the agent on RabbitMQ, connected and never called."""
    with Hub(ground, ['vm-1']) as hub:

        def measure(kind: str) -> float:
            url = hub.url if kind == bed.OURS else ''
            instance = 'vm-1' if kind == bed.OURS else ''
            server = ground.start(bed.OURS, bed.PLAIN, hub=url, instance=instance)
            if url:
                server.process.wait_line('connected to the hub')
            time.sleep(SETTLE)
            memory = process.memory(server.pid).rss
            ground.stop_servers()
            return memory

        samples = rounds.sample((bed.OURS, RABBITMQ), ground.rounds(5), measure)
    note = f'extensions {", ".join(bed.PLAIN)}'
    yield _beside_rabbitmq('channel-rss-idle', samples, 0.85, note)


@contextlib.contextmanager
def _guests(ground: bed.Bed, url: str, count: int) -> Iterator[None]:
    """Keep so many guests connected, all of them in one process."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [ground.program(bed.OURS, 'python'), GUESTS, url, str(count)]
        child = processes.Process('guests', argv, pathlib.Path(folder) / 'log')
        try:
            child.wait_line('^connected$', 300)
            yield
        finally:
            child.kill()


def _beside_rabbitmq(
    name: str, samples: Mapping[str, Sequence[float]], most: float, note: str
) -> report.Row:
    target = report.Target('ratio', '<=', most)
    row = report.compare(name, RABBITMQ, samples, 'MiB', target, note)
    return dataclasses.replace(row, name=name)
