# SPDX-License-Identifier: Apache-2.0
"""What sealing costs beside the same in plain: a call, memory, and a conductor."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

from guestagent import client
from guestagent.seal import keys
from tests.benchmarks import (
    bed,
    bench_conductor,
    heartbeats,
    process,
    registry,
    report,
    rounds,
)

SEALED, PLAIN = bed.OURS, 'plain'
KINDS = (SEALED, PLAIN)
CALLS = 80

_TOPIC = 'sealed_reports'


def _master(use: str) -> keys.Line:
    return keys.Line(use, 'bench', True, os.urandom(32))


def _write(path: pathlib.Path, line: keys.Line) -> str:
    path.write_text(f'{line}\n')
    path.chmod(0o600)
    return str(path)


class _Guests:
    """Agents with a key and without one, and who calls each."""

    def __init__(self, ground: bed.Bed, folder: pathlib.Path) -> None:
        self._ground, self._folder = ground, folder
        self._master = _master(keys.COMMANDS)
        self.key_file = _write(folder / 'master', self._master)

    def start(self, kind: str, extensions: tuple[str, ...]) -> tuple[bed.Server, str]:
        """Return an agent and its instance id."""
        instance = f'{kind}-{os.urandom(6).hex()}'
        options = ''
        if kind == SEALED:
            path = _write(self._folder / instance, self._master.derive(instance))
            options = f'[seal]\nkey_file = {path}\n'
        server = self._ground.start(
            bed.OURS, extensions, instance=instance, options=options
        )
        return server, instance


@contextlib.contextmanager
def _guests(ground: bed.Bed) -> Iterator[_Guests]:
    with tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder:
        yield _Guests(ground, pathlib.Path(folder))


@registry.benchmark('seal-p50')
def latency(ground: bed.Bed) -> Iterator[report.Row]:
    """Short slices of calls by guestagent.client, sealed and plain in turn."""
    with _guests(ground) as guests, contextlib.ExitStack() as closing:
        callers, instances = {}, {}
        for kind in KINDS:
            _, instances[kind] = guests.start(kind, bed.CALLABLE)
            key_file = guests.key_file if kind == SEALED else ''
            callers[kind] = closing.enter_context(
                client.Client(url=ground.url, key_file=key_file)
            )

        def measure(kind: str, calls: int = CALLS) -> float:
            times = []
            for _ in range(calls):
                started = time.perf_counter()
                callers[kind].call(instances[kind], 'echo.echo', {'value': 'hello'})
                times.append(time.perf_counter() - started)
            return statistics.median(times) * 1000

        for kind in KINDS:
            measure(kind, 300)
        samples = rounds.sample(KINDS, ground.rounds(90), measure)
    row = report.compare(
        'seal-p50',
        PLAIN,
        samples,
        'ms',
        report.Target('ratio', '<=', 1.25),
        f'guestagent.client, {CALLS} calls a round; "peer" is plain',
    )
    yield dataclasses.replace(row, name='seal-p50')


@registry.benchmark('seal-rss')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """Connected, never called; with a key and without one."""
    with _guests(ground) as guests:

        def measure(kind: str) -> float:
            server, _ = guests.start(kind, bed.PLAIN)
            time.sleep(2)
            memory = process.memory(server.pid).rss
            ground.stop_servers()
            return memory

        samples = rounds.sample(KINDS, ground.rounds(5), measure)
    pairs = zip(samples[SEALED], samples[PLAIN], strict=True)
    more = [sealed - plain for sealed, plain in pairs]
    yield report.Row(
        name='seal-rss',
        ours=statistics.median(more),
        peer=statistics.median(samples[PLAIN]),
        unit='MiB',
        ratio=None,
        target=report.Target('ours', '<=', 2),
        note='how much more than the plain one, which is "peer"',
    )


@registry.benchmark('seal-heartbeats')
def throughput(bench: bed.Bed) -> Iterator[report.Row]:
    """A conductor that opens reports, and one that takes plain ones, in turn."""
    count = bench_conductor.OURS_COUNT
    master = _master(keys.REPORTS)
    with (
        tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder,
        bench_conductor.make_ground() as ground,
        contextlib.ExitStack() as closing,
    ):
        key_file = _write(pathlib.Path(folder) / 'keys', master)
        takers = {SEALED: ground.conductor(_TOPIC, key_file), PLAIN: ground.conductor()}
        fleets = {
            SEALED: heartbeats.SealedFleet(
                ground.broker.port,
                _TOPIC,
                f'{_TOPIC}.info',
                bench_conductor.INSTANCES,
                master,
            ),
            PLAIN: ground.fleet(),
        }
        for fleet in fleets.values():
            closing.enter_context(fleet)

        def measure(kind: str) -> float:
            return bench_conductor.rate(fleets[kind], [takers[kind]], count)

        for kind in KINDS:
            measure(kind)
        samples = rounds.sample(KINDS, bench.rounds(5), measure)
    row = report.compare(
        'seal-heartbeats',
        PLAIN,
        samples,
        'reports/s',
        report.Target('ratio', '>=', 0.5),
        f'{bench_conductor.INSTANCES} instances; "peer" is plain',
    )
    yield dataclasses.replace(row, name='seal-heartbeats')
