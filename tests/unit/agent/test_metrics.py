# SPDX-License-Identifier: Apache-2.0
"""The agent's own writing of Prometheus's text, read by Prometheus's own reader."""

import threading

from prometheus_client import parser

from guestagent.agent import counts, metrics


def test_what_is_written_is_read_as_it_was_meant():
    labels = {'name': 'a "b" \\ c\nd', 'other': ''}
    text = metrics.render(
        [
            metrics.Family('x_total', 'counter', 'One.', [(labels, 3), ({}, 0.5)]),
            metrics.Family('y', 'gauge', 'None.', []),
            metrics.Family('z', 'gauge', 'Small and large.', [({}, 1e-9), ({}, 2**60)]),
        ]
    )

    found = list(parser.text_string_to_metric_families(text))

    assert [(family.name, family.type, family.documentation) for family in found] == [
        ('x', 'counter', 'One.'),
        ('y', 'gauge', 'None.'),
        ('z', 'gauge', 'Small and large.'),
    ]
    assert [sample.labels for sample in found[0].samples] == [labels, {}]
    values = [sample.value for family in found for sample in family.samples]
    assert values == [3, 0.5, 1e-9, 2**60]


def test_no_count_is_lost_between_threads():
    counted = counts.Counts()

    def count():
        for _ in range(20_000):
            counted.end('done')
            counted.refuse(ValueError())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counted.ended == {'done': 80_000}
    assert counted.refused == {'ValueError': 80_000}
