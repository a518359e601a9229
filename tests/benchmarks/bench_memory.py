# SPDX-License-Identifier: Apache-2.0
"""Resident memory, idle and after calls; and exec to the first answered call."""

import time
from collections.abc import Iterator

from tests.benchmarks import bed, process, registry, report, rounds

ROUNDS = 5
#: Seconds until a server that consumes has done all that its start entails.
SETTLE = 2.0


@registry.benchmark('rss-idle')
def idle(ground: bed.Bed) -> Iterator[report.Row]:
    """Connected, never called; ours with exec and monitoring."""

    def measure(kind: str) -> float:
        server = ground.start(kind, bed.PLAIN)
        time.sleep(SETTLE)
        memory = process.memory(server.pid)
        anonymous[kind] = memory.anonymous
        ground.stop_servers()
        return memory.rss

    anonymous: dict[str, float] = {}
    samples = rounds.sample(bed.ALL, ground.rounds(ROUNDS), measure)
    for peer, bound in ((bed.A, 0.65), (bed.B, 0.85)):
        yield report.compare(
            'rss-idle',
            peer,
            samples,
            'MiB',
            report.Target('ratio', '<=', bound),
            f'extensions {", ".join(bed.PLAIN)}; anonymous memory '
            f'{anonymous[bed.OURS]:.1f} against {anonymous[peer]:.1f} MiB',
        )


@registry.benchmark('rss-after-calls')
def after_calls(ground: bed.Bed) -> Iterator[report.Row]:
    """How much more it is after 1,000 calls and a burst of 32 callers."""

    def measure(kind: str) -> float:
        server = ground.start(kind)
        time.sleep(SETTLE)
        before = process.memory(server.pid).rss
        ground.stock.call(server.topic, 1000)
        ground.stock.burst(server.topic, callers=32)
        time.sleep(SETTLE)
        after = process.memory(server.pid).rss
        threads[kind] = process.threads(server.pid)
        ground.stop_servers()
        return after - before

    threads: dict[str, int] = {}
    samples = rounds.sample((bed.OURS, bed.A), ground.rounds(ROUNDS), measure)
    yield report.compare(
        'rss-after-calls',
        bed.A,
        samples,
        'MiB',
        report.Target('ours', '<=', 1),
        f'extensions {", ".join(bed.CALLABLE)}; {threads[bed.OURS]} against '
        f'{threads[bed.A]} threads afterwards',
    )


@registry.benchmark('start')
def start(ground: bed.Bed) -> Iterator[report.Row]:
    """From exec to the reply of a call that waited in the queue; bytecode warm."""
    with ground.pipelined() as client:

        def measure(kind: str) -> float:
            server = servers[kind]
            client.send(server.topic)
            started = time.perf_counter()
            server.start_again()
            while not client.receive():
                pass
            seconds = time.perf_counter() - started
            server.stop()
            ground.wait_gone([server])
            return seconds * 1000

        # The first start makes the queues, and warms caches of the kernel and others.
        servers = {kind: ground.start(kind) for kind in bed.ALL}
        for server in servers.values():
            server.stop()
        ground.wait_gone(list(servers.values()))
        samples = rounds.sample(bed.ALL, ground.rounds(12), measure)
    for peer, bound in ((bed.A, 0.5), (bed.B, 0.85)):
        yield report.compare(
            'start',
            peer,
            samples,
            'ms',
            report.Target('ratio', '<=', bound),
            f'extensions {", ".join(bed.CALLABLE)}',
        )
