# SPDX-License-Identifier: Apache-2.0
"""A fleet whose broker is restarted: how soon it is back, and what it has lost."""

import json
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator

import amqp

from devstack import processes, servers
from guestagent.bus import topics
from tests.benchmarks import bed, registry, report

GUESTS, PROCESSES = 2000, 2
#: How long the broker is away, in seconds.
AWAY_SECONDS = 5.0

_FLEET = pathlib.Path(__file__).with_name('fleet.py')


class Fleet:
    """All processes with guests.

    :param each: how many guests each process has.
    """

    def __init__(self, folder: pathlib.Path, url: str, each: int) -> None:
        self.size = each * PROCESSES
        self._children = [
            processes.Process(
                f'fleet {number}',
                [sys.executable, _FLEET, url, folder, f'guest-{number}', str(each)],
                folder / f'fleet-{number}.log',
                env={**os.environ, 'PYTHONPATH': str(_FLEET.parents[2])},
            )
            for number in range(PROCESSES)
        ]

    def count(self) -> dict[str, int]:
        """Return the sums of what the processes have said last."""
        total = {'connected': 0, 'connects': 0, 'complete': 0, 'events': 0}
        for child in self._children:
            if not child.running:
                raise processes.Failed(child.tail())
            said = [line for line in child.output().splitlines() if line[:1] == '{']
            for key, value in json.loads(said[-1] if said else '{}').items():
                total[key] += value
        return total

    def wait(self, key: str, value: int, seconds: float = 300) -> float:
        """Wait until a count is as high; return the time."""
        processes.wait_for(
            lambda: self.count()[key] >= value,
            f'{value} guests are {key}',
            seconds,
            spacing=0.2,
        )
        return time.perf_counter()

    def stop_reporting(self) -> None:
        """Let no more events be reported."""
        for child in self._children:
            os.kill(child.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """End all."""
        for child in self._children:
            child.kill()


def _declare(port: int) -> None:
    """Make the queue of reports, which nobody takes from."""
    with amqp.Connection(f'127.0.0.1:{port}') as connection:
        channel = connection.channel()
        channel.exchange_declare(
            topics.REPORT_TOPIC, 'topic', durable=True, auto_delete=False
        )
        queue = topics.report_queue()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        channel.queue_bind(queue, topics.REPORT_TOPIC, queue)


def _take_events(port: int) -> set[tuple[str, int]]:
    """Take all reports; return (instance, number) of the events."""
    found = set()
    with amqp.Connection(f'127.0.0.1:{port}') as connection:
        channel = connection.channel()
        while (
            message := channel.basic_get(topics.report_queue(), no_ack=True)
        ) is not (None):
            payload = json.loads(json.loads(message.body)['oslo.message'])['payload']
            if payload['kind'] == 'event':
                found.add((payload['instance'], payload['data']['data']['n']))
    return found


@registry.benchmark('fleet-reconnect', 'fleet-lost')
def reconnect(bench: bed.Bed) -> Iterator[report.Row]:
    """Restart the broker of guests that report all the time."""
    guests = GUESTS // 10 if bench.quick else GUESTS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix='guestagent-bench-') as name:
        folder = pathlib.Path(name)
        broker = servers.RabbitMQ(folder / 'rabbitmq', servers.SMALL_BUFFERS)
        _declare(broker.port)
        fleet = Fleet(folder, broker.url, guests // PROCESSES)
        try:
            fleet.wait('complete', guests * 9 // 10)
            fleet.wait('connected', guests)
            broker.kill()
            time.sleep(AWAY_SECONDS)
            broker.start()
            begin = time.perf_counter()
            fleet.stop_reporting()
            connected = fleet.wait('connected', guests) - begin
            settled = fleet.wait('complete', guests) - begin
            events = fleet.count()['events']
            lost = events - len(_take_events(broker.port))
        finally:
            fleet.kill()
            broker.kill()
    yield report.Row(
        name='fleet-reconnect',
        ours=settled,
        peer=connected,
        unit='s',
        ratio=None,
        target=report.Target('ours', '<=', 60),
        note=f'{guests} guests, broker killed for {AWAY_SECONDS:g} s: until all have '
        f'told everything; "peer" is until all are connected: '
        f'{guests / connected:.0f} connects/s',
    )
    yield report.Row(
        name='fleet-lost',
        ours=lost,
        peer=events,
        unit='events',
        ratio=None,
        target=report.Target('ours', '<=', 0),
        note='events that the broker has not got, of those that were reported, "peer"',
    )
