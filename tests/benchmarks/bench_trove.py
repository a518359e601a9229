# SPDX-License-Identifier: Apache-2.0
"""The agent under Trove beside Trove's own, on one broker and one MariaDB server.

Trove's conductor and the context of the calls are those of tests/interop/trove.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import getpass
import pathlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import oslo_messaging

from devstack import databases, processes, stack
from tests.benchmarks import (
    bed,
    environments,
    process,
    registry,
    report,
    rounds,
    trove_client,
    trove_reference,
)
from tests.interop.trove import guests as instances
from tests.interop.trove import plane as planes

REFERENCE = 'reference'
BOTH = (bed.OURS, REFERENCE)

CALLS = 60
#: Their rows, and how much of the reference's time each may take.
METHODS = {
    'rpc_ping': ('trove-ping-p50', 0.6),
    'list_databases': ('trove-list-databases-p50', 0.7),
}
#: Seconds until an agent that consumes has done all that its start entails.
SETTLE = 5.0
DATABASES = tuple(f'shop{number}' for number in range(10))
NOTE = (
    'beside trove-guestagent 26.0.0, with a stand-in for the Docker daemon that it asks'
    ' for no more than its version'
)

#: All in one process, as the extensions' options have it; and as the packages have it:
#: datastore has one of its own, which stays.
TOGETHER: stack.Options = {'trove': {'heartbeat_interval': 25}}
ISOLATED: stack.Options = {
    **TOGETHER,
    'datastore': {
        **dict.fromkeys(instances.LIMITS, 0),
        'isolate': True,
        'isolate_user': getpass.getuser(),
    },
}


class Pair:
    """An instance with our agent and one with Trove's.

    :ivar plane: Trove's.
    :ivar clients: what calls them, by kind.
    """

    def __init__(
        self,
        plane: planes.Plane,
        guests: dict[str, instances.Guest],
        reference: trove_reference.Reference,
        transport: oslo_messaging.Transport,
    ) -> None:
        self.plane = plane
        context = plane.ask('context')
        self.clients = {
            kind: trove_client.Client(
                transport, guest.id, guest.config / 'guest_info.conf', context
            )
            for kind, guest in guests.items()
        }
        self._ids = {kind: guest.id for kind, guest in guests.items()}
        self._starts: dict[str, Callable[[], processes.Process]] = {
            bed.OURS: guests[bed.OURS].launch,
            REFERENCE: reference.start,
        }

    def start(self, kind: str) -> processes.Process:
        """Start an agent; return at once."""
        return self._starts[kind]()

    def wait_consuming(self, kind: str, agent: processes.Process) -> None:
        """Wait until it takes requests."""
        agent.wait_for(
            lambda: stack.consumers(self.plane.url, self._queue(kind)),
            'it takes requests',
            60,
        )

    def stop(self, kind: str, agent: processes.Process) -> None:
        """Stop it, and wait until the broker has seen it go."""
        agent.stop()
        processes.wait_for(
            lambda: not stack.consumers(self.plane.url, self._queue(kind)),
            f'nothing consumes from {self._queue(kind)}',
        )

    @contextlib.contextmanager
    def running(self, kind: str) -> Iterator[processes.Process]:
        """Give an agent that takes requests, and stop it."""
        agent = self.start(kind)
        try:
            self.wait_consuming(kind, agent)
            yield agent
            self.stop(kind, agent)
        finally:
            agent.kill()

    def waiting(self, kind: str) -> int:
        """Return how many messages wait for an agent."""
        with self.plane.connected() as connection:
            return (
                connection.channel()
                .queue_declare(self._queue(kind), passive=True)
                .message_count
            )

    def _queue(self, kind: str) -> str:
        return f'guestagent.{self._ids[kind]}'


@contextlib.contextmanager
def _pair(ground: bed.Bed, options: stack.Options = TOGETHER) -> Iterator[Pair]:
    """Give both, prepared; no agent runs, the server does."""
    if not (planes.TROVE / 'bin' / 'trove-conductor').exists():
        raise processes.Failed('Trove is not there: run devstack/prepare test')
    venv = environments.trove()
    with contextlib.ExitStack() as stopping:
        folder = pathlib.Path(stopping.enter_context(tempfile.TemporaryDirectory()))
        database = databases.MariaDB(folder / 'mariadb')
        stopping.callback(database.remove)
        plane = planes.Plane(folder, ground.broker, database)
        stopping.callback(plane.close)
        guests = {}
        for kind in BOTH:
            guests[kind] = instances.Guest(
                plane, True, options=options, program=venv.program('guestagent')
            )
            stopping.callback(guests[kind].remove)
        password = secrets.token_hex(16)
        _prepare(guests[bed.OURS], password)
        daemon = stopping.enter_context(trove_reference.docker(folder / 'docker.sock'))
        socket = next((guests[bed.OURS].folder / 'run').glob('*.sock'))
        reference = trove_reference.Reference(
            guests[REFERENCE], socket, password, daemon
        )
        transport = trove_client.connect(plane.url)
        stopping.callback(transport.cleanup)
        yield Pair(plane, guests, reference, transport)


def _prepare(guest: instances.Guest, password: str) -> None:
    """Have our agent make the server, and give Trove's agent an account there."""
    guest.prepare(databases=[{'_name': name} for name in DATABASES])
    guest.start()
    guest.wait_status('healthy', 120)
    assert guest.agent is not None
    guest.agent.stop()
    guest.query(
        f"GRANT ALL ON *.* TO 'os_admin'@'localhost' IDENTIFIED BY '{password}' "
        'WITH GRANT OPTION'
    )


@registry.benchmark('trove-rss')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """Connected, with a server that is healthy, never called."""
    with _pair(ground) as pair:
        samples = rounds.sample(
            BOTH, ground.rounds(5), functools.partial(_idle_memory, pair)
        )
    yield _row(
        'trove-rss',
        samples,
        'MiB',
        0.4,
        'datastore and trove in the process of the agent',
    )


def _idle_memory(pair: Pair, kind: str) -> float:
    """Start an agent; return what it and all its children take, in MiB."""
    return _idle(pair, kind).rss


@registry.benchmark('trove-isolated-pss')
def isolated_memory(ground: bed.Bed) -> Iterator[report.Row]:
    """As the packages have it: datastore in a process of its own, and a launcher."""
    found: dict[str, list[_Idle]] = {kind: [] for kind in BOTH}

    def measure(kind: str) -> float:
        found[kind].append(_idle(pair, kind))
        return found[kind][-1].together

    with _pair(ground, ISOLATED) as pair:
        samples = rounds.sample(BOTH, ground.rounds(3), measure)
    sums = {
        what: [
            statistics.median(getattr(each, what) for each in found[kind])
            for kind in BOTH
        ]
        for what in ('proportional', 'rss')
    }
    yield _row(
        'trove-isolated-pss',
        samples,
        'MiB',
        0.4,
        f'{found[bed.OURS][0].count} processes, their pages once each; '
        + '; '.join(
            f'sum of {name} {ours:.1f} against {theirs:.1f} MiB, {ours / theirs:.3f}'
            for name, (ours, theirs) in zip(('PSS', 'RSS'), sums.values(), strict=True)
        ),
    )


class _Idle(NamedTuple):
    """What an agent and all its children take, in MiB; how many they are."""

    together: float
    proportional: float
    rss: float
    count: int


def _idle(pair: Pair, kind: str) -> _Idle:
    """Start an agent, and measure it when it has nothing to do."""
    with pair.running(kind) as agent:
        time.sleep(SETTLE)
        pids = (agent.pid, *process.children(agent.pid))
        memories = [process.memory(pid) for pid in pids]
        return _Idle(
            process.together(pids),
            sum(each.proportional for each in memories),
            sum(each.rss for each in memories),
            len(pids),
        )


@registry.benchmark('trove-start')
def start(ground: bed.Bed) -> Iterator[report.Row]:
    """From exec to the answer to a call that waited in the queue; bytecode warm."""

    def measure(kind: str) -> float:
        answered = caller.submit(pair.clients[kind].call, 'rpc_ping')
        processes.wait_for(functools.partial(pair.waiting, kind), 'the call waits')
        started = time.perf_counter()
        agent = pair.start(kind)
        try:
            answered.result()
            seconds = time.perf_counter() - started
            pair.stop(kind, agent)
        finally:
            agent.kill()
        return seconds * 1000

    with _pair(ground) as pair, concurrent.futures.ThreadPoolExecutor(1) as caller:
        for kind in BOTH:
            with pair.running(kind):
                pair.clients[kind].call('rpc_ping')
        samples = rounds.sample(BOTH, ground.rounds(12), measure)
    yield _row('trove-start', samples, 'ms', 0.5, 'to the answer to rpc_ping')


@registry.benchmark('trove-ping-p50', 'trove-list-databases-p50')
def latency(ground: bed.Bed) -> Iterator[report.Row]:
    """Short slices of calls by one caller, both agents up side by side."""
    measured = {}
    with (
        _pair(ground) as pair,
        pair.running(bed.OURS) as ours,
        pair.running(REFERENCE) as reference,
    ):
        agents = {bed.OURS: ours, REFERENCE: reference}
        for method in METHODS:
            measured[method] = _latencies(pair, agents, method, ground.rounds(40))
    with _pair(ground, ISOLATED) as pair, pair.running(bed.OURS) as ours:
        isolated = {
            method: _latencies(pair, {bed.OURS: ours}, method, ground.rounds(10))[0]
            for method in METHODS
        }
    for method, (name, bound) in METHODS.items():
        samples, cpu = measured[method]
        yield _row(
            name,
            samples,
            'ms',
            bound,
            f'stock client, secure RPC, {CALLS} calls a round; processor time of the '
            f'agent {cpu[bed.OURS]:.0f} against {cpu[REFERENCE]:.0f} us a call; with '
            'datastore isolated, as the packages have it, '
            f'{statistics.median(isolated[method][bed.OURS]):.2f} ms',
        )


def _latencies(
    pair: Pair, agents: dict[str, processes.Process], method: str, count: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the median time of each round, in ms, and the processor time, in us."""
    cpu: dict[str, list[float]] = {kind: [] for kind in agents}

    def measure(kind: str) -> float:
        before = process.cpu_ns(agents[kind].pid)
        seconds = pair.clients[kind].call(method, CALLS)
        cpu[kind].append((process.cpu_ns(agents[kind].pid) - before) / CALLS / 1000)
        return statistics.median(seconds) * 1000

    for kind in agents:
        pair.clients[kind].call(method, CALLS)
    samples = rounds.sample(tuple(agents), count, measure)
    return samples, {kind: statistics.median(each) for kind, each in cpu.items()}


def _row(
    name: str, samples: dict[str, list[float]], unit: str, bound: float, note: str
) -> report.Row:
    row = report.compare(
        name,
        REFERENCE,
        samples,
        unit,
        report.Target('ratio', '<=', bound),
        f'{note}; {NOTE}',
    )
    return dataclasses.replace(row, name=name)
