# SPDX-License-Identifier: Apache-2.0
"""What one agent costs the broker."""

import time
from collections.abc import Iterator

from tests.benchmarks import bed, registry, report, rounds

AGENTS = 20

#: All that the Erlang machine holds, in bytes, after it threw away what it may.
_MEMORY = """
lists:foreach(fun (_) ->
                  [erlang:garbage_collect(P) || P <- processes()],
                  timer:sleep(300)
              end, lists:seq(1, 3)),
erlang:memory(total).
"""


@registry.benchmark('broker-memory')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """The node's memory with many agents, each called once, less that without."""
    agents = 4 if ground.quick else AGENTS

    def measure(kind: str) -> float:
        before = int(ground.broker.ctl('eval', _MEMORY))
        servers = [ground.start(kind, wait=False) for _ in range(agents)]
        ground.wait_consuming(servers)
        for server in servers:
            ground.stock.call(server.topic)
        # Until the broker's processes hibernate, which they do after a second.
        time.sleep(3)
        used = int(ground.broker.ctl('eval', _MEMORY)) - before
        ground.stop_servers()
        time.sleep(2)
        return used / agents / 1024

    samples = rounds.sample((bed.OURS, bed.A), ground.rounds(4), measure)
    yield report.compare('broker-memory', bed.A, samples, 'KiB',
                         report.Target('ratio', '<=', 0.55),
                         f'erlang:memory(total), {agents} agents, each called once')
