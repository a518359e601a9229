# SPDX-License-Identifier: Apache-2.0
"""How often an idle server wakes up."""

import time
from collections.abc import Iterator

from tests.benchmarks import bed, process, registry, report

SECONDS = 60.0


@registry.benchmark('wakeups-idle', 'wakeups-after-burst')
def wakeups(ground: bed.Bed) -> Iterator[report.Row]:
    """Voluntary context switches a second of all threads, all servers at once."""
    kinds = (bed.OURS, bed.A)
    never_called = {kind: ground.start(kind, bed.PLAIN) for kind in kinds}
    called = {kind: ground.start(kind) for kind in kinds}
    for server in called.values():
        ground.stock.burst(server.topic, callers=32)
    # Until threads that were only there for the burst have gone.
    time.sleep(5)
    seconds = 10.0 if ground.quick else SECONDS
    counted = _count([*never_called.values(), *called.values()], seconds)
    for name, servers in (
        ('wakeups-idle', never_called),
        ('wakeups-after-burst', called),
    ):
        samples = {kind: [counted[servers[kind].pid]] for kind in kinds}
        yield report.compare(
            name,
            bed.A,
            samples,
            '1/s',
            report.Target('ours', '<', 0.5),
            f'over {seconds:.0f} s',
        )


def _count(servers: list[bed.Server], seconds: float) -> dict[int, float]:
    """Return the wake-ups a second of each server, by process id."""
    before = {server.pid: process.switches(server.pid) for server in servers}
    started = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - started
    return {
        pid: process.switches_between(switches, process.switches(pid)) / passed
        for pid, switches in before.items()
    }
