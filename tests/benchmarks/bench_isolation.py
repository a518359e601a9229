# SPDX-License-Identifier: Apache-2.0
"""An extension in a process of its own beside the same one in the agent's process.

The times are those at the dispatcher, in this process: from a request that is submitted
on the loop until its answer is back there, as a door would have it.
"""

import contextlib
import dataclasses
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from oslo_config import cfg

from devstack import processes, stack
from guestagent import extension
from guestagent import loop as loops
from guestagent.agent import dispatcher, pool, registry
from guestagent.agent import request as requests
from guestagent.agent.isolation import loading
from guestagent.agent.steps import arguments, limit, version
from guestagent.bus import topics
from guestagent.conf import isolation
from tests.benchmarks import bed, process, report, rounds
from tests.benchmarks import registry as benchmarks

PACKAGE = pathlib.Path(__file__).with_name('isolated')
MODULE = 'guestagent_bench_isolated'
HERE = 'in-process'
#: In each round.
CALLS = 300


class _Door(requests.Door):
    """Takes the answer to the loop, as the bus's door does."""

    __slots__ = ('_loop', 'outcome')

    def __init__(self, loop: loops.Loop) -> None:
        self._loop = loop
        self.outcome: requests.Outcome | None = None

    def answer(self, request: requests.Request, outcome: requests.Outcome) -> bool:
        self._loop.call_soon(setattr, self, 'outcome', outcome)
        return True


class _Carrier:
    """A dispatcher with one extension; what nobody waits for is thrown away."""

    def __init__(self, kind: type[extension.Extension]) -> None:
        self.loop = loops.Loop()
        workers = pool.Pool(8, 128)
        self.known = registry.Registry(_configuration(), extension.Host())
        self.known.make('echo', kind, MODULE)
        self._dispatcher = dispatcher.Dispatcher(
            self.loop,
            workers,
            self,
            [
                version.Version(self.known),
                limit.Limit(lambda: workers.has_room),
                arguments.Arguments(),
            ],
        )

    def report_outcome(
        self, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        """Throw it away."""

    def call(self) -> float:
        """Make a call and return its seconds."""
        door = _Door(self.loop)
        request = requests.Request(
            'echo',
            'echo',
            '1.0',
            {'value': 'hello'},
            caller='bench',
            command_id='0' * 32,
            id_given=False,
            values={},
            door=door,
        )
        started = time.perf_counter()
        self._dispatcher.submit(request)
        while door.outcome is None:
            self.loop.run_once(30)
        seconds = time.perf_counter() - started
        if door.outcome.result != 'hello':
            raise processes.Failed(f'the call failed: {door.outcome.error}')
        return seconds

    def close(self) -> None:
        """Stop the extension."""
        self.known.stop()
        self.loop.close()


def _configuration() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    isolation.register(conf, 'echo', installed=True)
    return conf


def _kinds() -> dict[str, type[extension.Extension]]:
    """Return the extension's class, and the class that stands in for it."""
    if str(PACKAGE) not in sys.path:
        sys.path.append(str(PACKAGE))
    import guestagent_bench_isolated

    conf = _configuration()
    argv = loading.program('echo', conf, f'{MODULE}:Echo')
    return {
        bed.OURS: loading.load('echo', conf, argv),
        HERE: guestagent_bench_isolated.Echo,
    }


@contextlib.contextmanager
def _carriers() -> Iterator[dict[str, _Carrier]]:
    made = {name: _Carrier(kind) for name, kind in _kinds().items()}
    try:
        yield made
    finally:
        for carrier in made.values():
            carrier.close()


@benchmarks.benchmark('isolated-first-call')
def first_call(ground: bed.Bed) -> Iterator[report.Row]:
    """With the start of the process, the import and the options in it."""
    kinds = _kinds()

    def measure(name: str) -> float:
        carrier = _Carrier(kinds[name])
        seconds = carrier.call()
        carrier.close()
        return seconds * 1000

    samples = rounds.sample((bed.OURS, HERE), ground.rounds(15), measure)
    target = report.Target('ours', '<=', 250)
    row = report.compare(
        'isolated', HERE, samples, 'ms', target, 'at the dispatcher, its process made'
    )
    yield dataclasses.replace(row, name='isolated-first-call')


@benchmarks.benchmark('isolated-p50')
def later_calls(ground: bed.Bed) -> Iterator[report.Row]:
    """Calls by one caller, one after the other, to a process that is there."""
    with _carriers() as carriers:

        def measure(name: str) -> float:
            return statistics.median(carriers[name].call() for _ in range(CALLS)) * 1e6

        for name in carriers:
            measure(name)
        samples = rounds.sample((bed.OURS, HERE), ground.rounds(40), measure)
    target = report.Target('ratio', '<=', 3)
    note = f'at the dispatcher, {CALLS} calls a round'
    row = report.compare('isolated', HERE, samples, 'us', target, note)
    yield dataclasses.replace(row, name='isolated-p50')


@benchmarks.benchmark('isolated-rss')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """What an agent and its children take after 200 MiB were used and given back."""
    figures = [_use_and_idle(ground) for _ in range(ground.rounds(3))]
    more = [after - before for before, _, after in figures]
    yield report.Row(
        name='isolated-rss',
        ours=statistics.median(more),
        peer=statistics.median(before for before, _, _ in figures),
        unit='MiB',
        ratio=None,
        target=report.Target('ours', '<=', 2),
        note='how much more the agent and all its children take than before (peer) '
        f'the first use; meanwhile '
        f'{statistics.median(used for _, used, _ in figures):.0f} MiB; '
        f'rounds: {len(figures)}, {min(more):.2f} to {max(more):.2f}',
    )


def _use_and_idle(ground: bed.Bed) -> tuple[float, float, float]:
    """Return what is taken before the first use, by it, and when it is idle, in MiB."""
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)
        agent = stack.Agent(
            folder,
            ground.broker.url,
            f'isolated-{time.monotonic_ns()}',
            {
                'DEFAULT': {'enabled_extensions': 'echo'},
                'echo': {'isolate': True, 'isolate_idle': 1},
            },
            _install(folder),
        )
        try:
            agent.wait_ready()
            time.sleep(2)
            before = _taken(agent.pid)
            ground.stock.call(topics.request_topic(agent.instance), 3)
            used = _taken(agent.pid)
            processes.wait_for(
                lambda: not process.children(agent.pid), 'the idle process has gone'
            )
            time.sleep(2)
            return before, used, _taken(agent.pid)
        finally:
            agent.kill()


def _install(folder: pathlib.Path) -> pathlib.Path:
    """Make the package with the hungry extension, as pip would."""
    packages = folder / 'packages'
    about = packages / f'{MODULE}-1.0.dist-info'
    about.mkdir(parents=True)
    (packages / f'{MODULE}.py').write_bytes((PACKAGE / f'{MODULE}.py').read_bytes())
    (about / 'METADATA').write_text(f'Name: {MODULE}\nVersion: 1.0\n')
    (about / 'entry_points.txt').write_text(
        f'[guestagent.extensions]\necho = {MODULE}:Hungry\n'
    )
    return packages


def _taken(pid: int) -> float:
    """Return the resident memory of a process and all its children, in MiB."""
    return sum(process.memory(each).rss for each in (pid, *process.children(pid)))
