# SPDX-License-Identifier: Apache-2.0
"""What it costs that a command which changes the guest is on its disk twice."""

import dataclasses
import os
import pathlib
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence

from guestagent import extension
from guestagent.agent import disk, recordfile
from guestagent.agent import registry as registries
from guestagent.agent import request as requests
from guestagent.agent.journal import journal, records, states
from tests.benchmarks import bed, registry, report, rounds

IN_FLIGHT = 32
#: In each round, by the pipelined client.
CALLS = 1500
#: What stands in the place of a peer.
BESIDE = 'beside'
UNSHARED = pathlib.Path(__file__).with_name('unshared.py')
#: Bytes of each write that is synced, about those of a record.
WRITTEN = 300
#: How many commands the journal has, in the other start.
JOURNALED = 10000


@registry.benchmark('mutate-p50')
def latency(ground: bed.Bed) -> Iterator[report.Row]:
    """Short slices of calls by one stock client, and of writes to the same disk."""
    server = ground.start(bed.OURS)
    ground.stock.call(server.topic, 200, 'change')

    def measure(name: str) -> float:
        if name == bed.OURS:
            return ground.stock.p50(server.topic, 60, 'change')
        return ground.stock.p50(server.topic, 60) + 2 * _sync_ms(server.state)

    samples = rounds.sample((bed.OURS, BESIDE), ground.rounds(30), measure)
    yield _row(
        'mutate-p50',
        samples,
        'ms',
        report.Target('ratio', '<=', 1.3),
        f'beside a read and two syncs of {WRITTEN} bytes, {_median_sync(server)}',
    )


@registry.benchmark('mutate-32')
def throughput(ground: bed.Bed) -> Iterator[report.Row]:
    """Beside the same agent without group commit."""
    servers = {
        bed.OURS: ground.start(bed.OURS),
        BESIDE: ground.start(bed.OURS, script=UNSHARED),
    }
    ours = servers[bed.OURS]
    bounds = []
    with ground.pipelined() as client:

        def measure(name: str) -> float:
            if name == bed.OURS:
                read = client.run(ours.topic, CALLS, IN_FLIGHT) / CALLS
                bounds.append(1 / (read + 2 * _sync_ms(ours.state) / 1000))
            return CALLS / client.run(servers[name].topic, CALLS, IN_FLIGHT, 'change')

        for name in servers:
            measure(name)
        bounds.clear()
        samples = rounds.sample((bed.OURS, BESIDE), ground.rounds(12), measure)
    shares = [
        rate / bound for rate, bound in zip(samples[bed.OURS], bounds, strict=True)
    ]
    yield _row(
        'mutate-32',
        samples,
        'calls/s',
        report.Target('ratio', '>=', 3),
        f'{IN_FLIGHT} in flight, beside the same agent with a pair of syncs for each; '
        f'a read and two syncs in turn, and no work for the journal, would make '
        f'{statistics.median(bounds):.0f} calls/s, ratio '
        f'{statistics.median(shares):.2f}; {_median_sync(ours)}',
    )


@registry.benchmark('journal-start')
def recovery(ground: bed.Bed) -> Iterator[report.Row]:
    """From exec to the reply of a call that waited in the queue."""
    server = ground.start(bed.OURS)
    server.stop()
    ground.wait_gone([server])
    with server.state.with_suffix('.conf').open('a') as config:
        config.write(f'\n[journal]\nmax_commands = {2 * JOURNALED}\n')
    own = server.state / 'journal'
    files = {BESIDE: own.read_bytes(), bed.OURS: _journal(server)}
    with ground.pipelined() as client:

        def measure(name: str) -> float:
            own.write_bytes(files[name])
            client.send(server.topic)
            started = time.perf_counter()
            server.start_again()
            while not client.receive():
                pass
            seconds = time.perf_counter() - started
            server.stop()
            ground.wait_gone([server])
            return seconds * 1000

        measure(BESIDE)
        samples = rounds.sample((bed.OURS, BESIDE), ground.rounds(9), measure)
    more = [
        ours - without
        for ours, without in zip(samples[bed.OURS], samples[BESIDE], strict=True)
    ]
    yield report.Row(
        name='journal-start',
        ours=statistics.median(more),
        peer=statistics.median(samples[BESIDE]),
        unit='ms',
        ratio=None,
        target=report.Target('ours', '<=', 200),
        note=f'how much longer the start takes with {JOURNALED} journaled commands '
        f'than with none (peer); rounds: {len(more)}, {min(more):.0f} to '
        f'{max(more):.0f}',
    )


class _FastDisk(disk.Disk):
    """Makes a file for a measurement, and need not keep it."""

    def sync(self, fd: int) -> None:
        """Do nothing."""


def _journal(server: bed.Server) -> bytes:
    """Return the journal of an agent that has had many commands."""
    path = server.state / 'other'
    made = journal.Journal(
        recordfile.RecordFile(str(path), records.KIND, records.VERSION, _FastDisk()),
        server.topic.removeprefix('guestagent.'),
        states.Bounds(JOURNALED, 2**30, 10**6),
        lambda _name, _data: None,
    )
    made.open()
    info = extension.CommandInfo(True, None, False, frozenset())
    command = registries.Command('change', lambda context: None, info)
    for _ in range(JOURNALED):
        request = requests.Request(
            'echo',
            'change',
            '1.0',
            {'value': 'hello'},
            caller='bench',
            command_id=uuid.uuid4().hex,
            id_given=True,
            values={},
            door=requests.Door(),
        )
        request.command = command
        made.accept([request])
        made.finish([(request, requests.Outcome(requests.DONE, 'hello'))])
        made.deliver('bench', request.id)
    made.close()
    return path.read_bytes()


def _sync_ms(folder: pathlib.Path, count: int = 40) -> float:
    """Return the median time of a write and its sync on the disk of a folder."""
    path = folder / 'synced'
    times = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for number in range(count):
            started = time.perf_counter()
            os.pwrite(fd, bytes(WRITTEN), number * WRITTEN)
            os.fdatasync(fd)
            times.append(time.perf_counter() - started)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(times) * 1000


def _median_sync(server: bed.Server) -> str:
    return f'a sync took {_sync_ms(server.state) * 1000:.0f} us'


def _row(
    name: str,
    samples: Mapping[str, Sequence[float]],
    unit: str,
    target: report.Target,
    note: str,
) -> report.Row:
    made = report.compare(name, BESIDE, samples, unit, target, note)
    return dataclasses.replace(made, name=name)
