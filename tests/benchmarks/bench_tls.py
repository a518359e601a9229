# SPDX-License-Identifier: Apache-2.0
"""Latency of one caller where all connections go through TLS."""

from collections.abc import Iterator

from tests.benchmarks import bed, registry, report, rounds


@registry.benchmark('p50-tls')
def latency(ground: bed.Bed) -> Iterator[report.Row]:
    """As p50-one-caller; the broker's certificate is verified by everyone."""
    with ground.another(tls=True) as secure:
        topics = {kind: secure.start(kind).topic for kind in bed.ALL}
        for topic in topics.values():
            secure.stock.call(topic, 300)
        samples = rounds.sample(
            bed.ALL, ground.rounds(90), lambda kind: secure.stock.p50(topics[kind], 80)
        )
    for peer in bed.PEERS:
        yield report.compare(
            'p50-tls',
            peer,
            samples,
            'ms',
            report.Target('ratio', '<=', 0.85),
            'stock client, 80 calls a round',
        )
