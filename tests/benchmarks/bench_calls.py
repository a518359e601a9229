# SPDX-License-Identifier: Apache-2.0
"""Latency of one caller; calls a second and processor time with 32 in flight."""

import statistics
import time
from collections.abc import Iterator

from tests.benchmarks import bed, process, registry, report, rounds

IN_FLIGHT = 32
#: In each round, by the pipelined client.
CALLS = 1500


@registry.benchmark('p50-one-caller')
def latency(ground: bed.Bed) -> Iterator[report.Row]:
    """Short slices of calls by one stock client, all servers up side by side."""
    topics = {kind: ground.start(kind).topic for kind in bed.ALL}
    for topic in topics.values():
        ground.stock.call(topic, 300)
    samples = rounds.sample(
        bed.ALL, ground.rounds(90), lambda kind: ground.stock.p50(topics[kind], 80)
    )
    for peer, bound in ((bed.A, 0.80), (bed.B, 0.85)):
        yield report.compare(
            'p50-one-caller',
            peer,
            samples,
            'ms',
            report.Target('ratio', '<=', bound),
            'stock client, 80 calls a round',
        )


@registry.benchmark('calls-32', 'cpu-32')
def throughput(ground: bed.Bed) -> Iterator[report.Row]:
    """Both figures are of the same calls."""
    servers = {kind: ground.start(kind) for kind in bed.ALL}
    cpu: dict[str, list[float]] = {kind: [] for kind in bed.ALL}
    client_cpu = []
    with ground.pipelined() as client:

        def measure(kind: str) -> float:
            server = servers[kind]
            own, theirs = time.process_time_ns(), process.cpu_ns(server.pid)
            seconds = client.run(server.topic, CALLS, IN_FLIGHT)
            cpu[kind].append((process.cpu_ns(server.pid) - theirs) / CALLS / 1000)
            client_cpu.append((time.process_time_ns() - own) / CALLS / 1000)
            return CALLS / seconds

        for server in servers.values():
            client.run(server.topic, CALLS, IN_FLIGHT)
        rates = rounds.sample(bed.ALL, ground.rounds(15), measure)
    note = (
        f'{IN_FLIGHT} in flight, {CALLS} calls a round, the client itself uses '
        f'{statistics.median(client_cpu):.0f} us a call'
    )
    for peer in bed.PEERS:
        yield report.compare(
            'calls-32', peer, rates, 'calls/s', report.Target('ratio', '>=', 3), note
        )
    for peer in bed.PEERS:
        yield report.compare(
            'cpu-32', peer, cpu, 'us/call', report.Target('ratio', '<=', 0.35), note
        )
