# SPDX-License-Identifier: Apache-2.0
"""What one agent costs the broker."""

import time
from collections.abc import Iterator

from devstack import servers
from tests.benchmarks import bed, registry, report, rounds

AGENTS = 20
#: Seconds until the broker's processes have nothing left to do, and hibernate.
SETTLE = 5.0

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
    """A node's memory with many agents, each called once, less that without.

    Each figure is of a new node: on a used one, queues that earlier agents left give
    memory back while the next ones are measured.
    """
    agents = 4 if ground.quick else AGENTS

    def measure(kind: str) -> float:
        with ground.another() as node:
            # The first client makes the node load code and make tables.
            node.stock.call(node.start(kind).topic)
            node.stop_servers()
            time.sleep(SETTLE)
            before = memory_of(node.broker)
            servers = [node.start(kind, wait=False) for _ in range(agents)]
            node.wait_consuming(servers)
            for server in servers:
                node.stock.call(server.topic)
            time.sleep(SETTLE)
            return (memory_of(node.broker) - before) / agents / 1024

    samples = rounds.sample((bed.OURS, bed.A), ground.rounds(2), measure)
    yield report.compare(
        'broker-memory',
        bed.A,
        samples,
        'KiB',
        report.Target('ratio', '<=', 0.55),
        f'erlang:memory(total) of a new node, {agents} agents, each called once',
    )


def memory_of(broker: servers.RabbitMQ) -> int:
    """Return what a node holds, in bytes, when it has thrown away what it may."""
    return int(broker.ctl('eval', _MEMORY))
