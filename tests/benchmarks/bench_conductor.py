# SPDX-License-Identifier: Apache-2.0
"""How many heartbeats a conductor writes, what bounds two, and what it keeps.

All on one PostgreSQL server on disk with synchronous_commit=on; nothing is
acknowledged before the commit.  The queue is full before the time begins.
"""

import contextlib
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from devstack import databases, processes, servers, stack
from tests.benchmarks import bed, heartbeats, process, registry, report, rounds

#: How many instances report.
INSTANCES = 1000
#: How many heartbeats each takes in a round.
OURS_COUNT, ORM_COUNT = 60_000, 4_000
MILLION = 1_000_000
_TWO = 'two'

_TOPIC = 'guestagent_reports'
_ORM_TOPIC = 'orm_reports'
_ORM_SERVER = pathlib.Path(__file__).with_name('orm_server.py')


class Ground:
    """A broker and a database of their own, and those who write from one to the other.

    The bed's broker has small socket buffers, which slow down whoever reads in bulk.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.broker = servers.RabbitMQ(folder / 'rabbitmq')
        self.database = databases.PostgreSQL(folder / 'postgresql')
        self._children: list[processes.Process] = []
        self._url = self.database.add('conductor')

    def close(self) -> None:
        """End all."""
        for child in self._children:
            child.kill()
        self.database.remove()
        self.broker.kill()

    def conductor(self, topic: str = _TOPIC, key_file: str = '') -> processes.Process:
        """Start a conductor, and return it when it takes reports.

        :param topic: of the reports; on another there is a database of its own.
        :param key_file: with the key that opens them.
        """
        url = self._url if topic == _TOPIC else self.database.add(topic)
        folder = self._folder / topic
        folder.mkdir(exist_ok=True)
        child = stack.Conductor(
            folder,
            self.broker.url,
            {
                'DEFAULT': {'report_topic': topic},
                'database': {'connection': url},
                'seal': {'key_file': key_file},
            },
        )
        self._children.append(child)
        child.wait_line('taking reports from')
        return child

    def orm_server(self) -> processes.Process:
        """Start the peer, and return it when it takes reports."""
        child = processes.Process(
            'orm server',
            [
                sys.executable,
                _ORM_SERVER,
                # Without a limit it would take all at once, and nobody could tell
                # how far it has come.
                f'{self.broker.url}?rabbit_qos_prefetch_count=100',
                _ORM_TOPIC,
                self.database.add('orm'),
            ],
            self._folder / 'orm.log',
            env={**os.environ, 'PYTHONPATH': str(_ORM_SERVER.parents[2])},
        )
        self._children.append(child)
        child.wait_for(
            lambda: stack.consumers(self.broker.url, f'{_ORM_TOPIC}.info'),
            'it takes reports',
        )
        return child

    def fleet(self, topic: str = _TOPIC) -> heartbeats.Fleet:
        """Return the writer of a topic's queue."""
        return heartbeats.Fleet(self.broker.port, topic, f'{topic}.info', INSTANCES)


@contextlib.contextmanager
def make_ground() -> Iterator[Ground]:
    """Give a ground, and end it."""
    with tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder:
        ground = Ground(pathlib.Path(folder))
        try:
            yield ground
        finally:
            ground.close()


def rate(
    fleet: heartbeats.Fleet, takers: Sequence[processes.Process], count: int
) -> float:
    """Return how many heartbeats ``takers`` write in a second.

    They are stopped while the queue fills.  What is left at the end is a batch or two
    that is not acknowledged yet: it was in hand at the beginning, too.
    """
    for taker in takers:
        os.kill(taker.pid, signal.SIGSTOP)
    fleet.send(count)
    # The broker has given some to those who are stopped.
    least = count - len(takers) * 1000
    fleet.wait_depth(least)
    for taker in takers:
        os.kill(taker.pid, signal.SIGCONT)
    begin = time.perf_counter()
    processes.wait_for(lambda: not fleet.depth(), 'all are taken', 600, 0.01)
    return count / (time.perf_counter() - begin)


def _idle_seconds() -> float:
    """Return for how long processors had nothing to do, all added up."""
    fields = pathlib.Path('/proc/stat').read_text().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf('SC_CLK_TCK')


@registry.benchmark('conductor-heartbeats', 'conductor-two')
def throughput(bench: bed.Bed) -> Iterator[report.Row]:
    """One conductor, two, and a stock server with an ORM, in interleaved rounds."""
    with make_ground() as ground, contextlib.ExitStack() as closing:
        first, peer = ground.conductor(), ground.orm_server()
        fleet = closing.enter_context(ground.fleet())
        orm_fleet = closing.enter_context(ground.fleet(_ORM_TOPIC))
        cpu: list[float] = []
        busy: list[float] = []

        def measure(kind: str) -> float:
            if kind == bed.A:
                return rate(orm_fleet, [peer], ORM_COUNT)
            if kind == _TWO:
                # It leaves afterwards, or it would share with one that is alone.
                second = ground.conductor()
                idle = _idle_seconds()
                begin = time.monotonic()
                figure = rate(fleet, [first, second], OURS_COUNT)
                passed = (time.monotonic() - begin) * (os.cpu_count() or 1)
                busy.append(1 - (_idle_seconds() - idle) / passed)
                second.stop()
                return figure
            before = process.cpu_ns(first.pid)
            figure = rate(fleet, [first], OURS_COUNT)
            cpu.append((process.cpu_ns(first.pid) - before) / 1e3 / OURS_COUNT)
            return figure

        kinds = (bed.OURS, _TWO, bed.A)
        for kind in kinds:
            measure(kind)
        cpu.clear()
        busy.clear()
        samples = rounds.sample(kinds, bench.rounds(5), measure)
    yield report.compare(
        'conductor-heartbeats',
        bed.A,
        samples,
        'reports/s',
        report.Target('ratio', '>=', 10),
        f'{INSTANCES} instances; {statistics.median(cpu):.0f} us of processor time a '
        f'report; A: oslo.messaging, one ORM get, set and commit for each',
    )
    pairs = zip(samples[_TWO], samples[bed.OURS], strict=True)
    ratios = [two / one for two, one in pairs]
    yield report.Row(
        name='conductor-two',
        ours=statistics.median(samples[_TWO]),
        peer=statistics.median(samples[bed.OURS]),
        unit='reports/s',
        ratio=statistics.median(ratios),
        target=report.Target('ratio', '>=', 1.6),
        note=f'two conductors beside one; the {os.cpu_count()} processors, which broker'
        f' and database need too, were {statistics.median(busy):.0%} busy, writing to'
        f' the queue included: near 100 % they are what bounds it',
    )


@registry.benchmark('conductor-rss')
def memory(bench: bed.Bed) -> Iterator[report.Row]:
    """How much larger a conductor is after a million reports than after a thousand."""
    count = 100_000 if bench.quick else MILLION
    with make_ground() as ground:
        child = ground.conductor()
        with ground.fleet() as fleet:
            figures = []
            for sent in (1000, count - 1000):
                while sent:
                    part = min(sent, 100_000)
                    fleet.send(part)
                    processes.wait_for(
                        lambda: not fleet.depth(), 'all are taken', 600, 0.1
                    )
                    sent -= part
                time.sleep(1)
                figures.append(process.memory(child.pid).rss)
    yield report.Row(
        name='conductor-rss',
        ours=figures[1] - figures[0],
        peer=figures[0],
        unit='MiB',
        ratio=None,
        target=report.Target('ours', '<=', 20),
        note=f'resident after {count} reports less that after 1,000, which is "peer"',
    )
