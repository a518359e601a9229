# SPDX-License-Identifier: Apache-2.0
"""``guestagent-qga`` beside Debian's qemu-ga: one client each, on a unix socket."""

import base64
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

from devstack import processes
from tests.benchmarks import bed, environments, process, report, rounds
from tests.benchmarks import registry as benchmarks
from tests.interop.qga import agents

THEIRS = 'qemu-ga'
MIB = 1024 * 1024
#: In each round.
PINGS, PARTS, PROGRAMS = 500, 16, 10
#: The most that one guest-file-read may ask for.
MOST = 48 * MIB


@functools.cache
def _programs() -> dict[str, str]:
    if not pathlib.Path(agents.QEMU_GA).exists():
        raise processes.Failed(f'{agents.QEMU_GA} is missing: qemu-guest-agent has it')
    ours = environments.qga().program('guestagent-qga')
    return {bed.OURS: str(ours), THEIRS: agents.QEMU_GA}


class _Agent:
    """One that runs, with a client and a file to read and one to write."""

    def __init__(self, folder: pathlib.Path, pid: int, path: pathlib.Path) -> None:
        self.pid = pid
        self.client = agents.Client(path)
        self._source, target = folder / 'source', folder / 'target'
        self._source.write_bytes(os.urandom(MOST))
        self._target = self._open(target, 'w')
        data = base64.b64encode(os.urandom(MIB)).decode()
        arguments = {'handle': self._target, 'buf-b64': data}
        request = {'execute': 'guest-file-write', 'arguments': arguments}
        self._write = json.dumps(request).encode() + b'\n'

    def ping(self) -> float:
        """Return the median seconds of a ping."""
        return statistics.median(self._time(self._ping) for _ in range(PINGS))

    def read(self) -> float:
        """Return the MB/s of reads of 1 MiB."""
        handle = self._open(self._source, 'r')
        seconds = self._time(lambda: self._read(handle, MIB, PARTS))
        self.client.ask('guest-file-close', handle=handle)
        return PARTS * MIB / seconds / 1e6

    def read_all(self) -> None:
        """Read as much as one answer may have."""
        self._read(self._open(self._source, 'r'), MOST, 1)

    def write(self) -> float:
        """Return the MB/s of writes of 1 MiB, each over the one before."""
        self.client.ask('guest-file-seek', handle=self._target, offset=0, whence='set')

        def write() -> None:
            for _ in range(PARTS):
                self.client.send(self._write)
                self.client.line()

        return PARTS * MIB / self._time(write) / 1e6

    def run(self) -> float:
        """Return the median seconds of a program that does nothing."""
        return statistics.median(self._time(self._run) for _ in range(PROGRAMS))

    def _ping(self) -> None:
        self.client.send(b'{"execute":"guest-ping"}\n')
        self.client.line()

    def _read(self, handle: int, count: int, times: int) -> None:
        arguments = {'handle': handle, 'count': count}
        request = {'execute': 'guest-file-read', 'arguments': arguments}
        for _ in range(times):
            self.client.send(json.dumps(request).encode() + b'\n')
            self.client.skip_line()

    def _run(self) -> None:
        started = self.client.ask('guest-exec', path='/bin/true')['return']
        ended = False
        while not ended:
            status = self.client.ask('guest-exec-status', pid=started['pid'])
            ended = status['return']['exited']

    def _open(self, path: pathlib.Path, mode: str) -> int:
        opened = self.client.ask('guest-file-open', path=str(path), mode=mode)
        handle: int = opened['return']
        return handle

    def _time(self, function: Callable[[], None]) -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started


@contextlib.contextmanager
def _agent(name: str) -> Iterator[_Agent]:
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)
        with agents.running(_programs()[name], folder) as (child, where):
            made = _Agent(folder, child.pid, where)
            yield made
            made.client.close()


def _compare(
    ground: bed.Bed,
    name: str,
    unit: str,
    target: report.Target,
    measure: Callable[[_Agent], float],
) -> report.Row:
    """Return a row of two that run side by side."""
    with _agent(bed.OURS) as ours, _agent(THEIRS) as theirs:
        both = {bed.OURS: ours, THEIRS: theirs}
        for one in both.values():
            measure(one)
        samples = rounds.sample(
            tuple(both), ground.rounds(30), lambda which: measure(both[which])
        )
    row = report.compare(name, THEIRS, samples, unit, target)
    return dataclasses.replace(row, name=name)


@benchmarks.benchmark('qga-ping-p50')
def ping(ground: bed.Bed) -> Iterator[report.Row]:
    """Pings, one after the other."""
    target = report.Target('ratio', '<=', 3)
    yield _compare(
        ground, 'qga-ping-p50', 'us', target, lambda agent: agent.ping() * 1e6
    )


@benchmarks.benchmark('qga-exec-p50')
def execute(ground: bed.Bed) -> Iterator[report.Row]:
    """A program that does nothing, until its end is known."""
    target = report.Target('ratio', '<=', 1.5)
    yield _compare(
        ground, 'qga-exec-p50', 'ms', target, lambda agent: agent.run() * 1e3
    )


@benchmarks.benchmark('qga-read')
def read(ground: bed.Bed) -> Iterator[report.Row]:
    """1 MiB at a time."""
    target = report.Target('ratio', '>=', 0.8)
    yield _compare(ground, 'qga-read', 'MB/s', target, lambda agent: agent.read())


@benchmarks.benchmark('qga-write')
def write(ground: bed.Bed) -> Iterator[report.Row]:
    """1 MiB at a time."""
    target = report.Target('ratio', '>=', 1.5)
    yield _compare(ground, 'qga-write', 'MB/s', target, lambda agent: agent.write())


@benchmarks.benchmark('qga-read-rss')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """The most that a new process has had after the longest answer."""

    def measure(name: str) -> float:
        with _agent(name) as agent:
            agent.read_all()
            return _peak(agent.pid)

    samples = rounds.sample((bed.OURS, THEIRS), ground.rounds(5), measure)
    target = report.Target('ratio', '<=', 1)
    row = report.compare('qga-read-rss', THEIRS, samples, 'MiB', target)
    yield dataclasses.replace(row, name='qga-read-rss')


def _peak(pid: int) -> float:
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) / 1024
    raise processes.Failed('the kernel does not say how much it was')


@benchmarks.benchmark('qga-start', 'qga-rss-idle')
def start(ground: bed.Bed) -> Iterator[report.Row]:
    """From the start of the process to its first answer, and what it takes then."""
    memories: dict[str, list[float]] = {bed.OURS: [], THEIRS: []}

    def measure(name: str) -> float:
        with tempfile.TemporaryDirectory() as path:
            started = time.perf_counter()
            with agents.running(
                _programs()[name], pathlib.Path(path), spacing=0.0005
            ) as (child, where):
                client = agents.Client(where)
                client.ask('guest-ping')
                seconds = time.perf_counter() - started
                time.sleep(2)
                memories[name].append(process.memory(child.pid).rss)
                client.close()
        return seconds * 1000

    samples = rounds.sample((bed.OURS, THEIRS), ground.rounds(7), measure)
    for name, unit, most, found in (
        ('qga-start', 'ms', 100, samples),
        ('qga-rss-idle', 'MiB', 15, memories),
    ):
        target = report.Target('ours', '<=', most)
        row = report.compare(name, THEIRS, found, unit, target)
        yield dataclasses.replace(row, name=name)
