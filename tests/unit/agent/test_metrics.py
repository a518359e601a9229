# SPDX-License-Identifier: Apache-2.0
"""The agent's own writing of Prometheus's text, read by Prometheus's own reader."""

import json
import threading
import types

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


def test_how_commands_ran_is_a_histogram():
    calls = counts.Calls()
    for failed, seconds in ((False, 0.0005), (False, 0.001), (True, 5.0), (True, 99.0)):
        calls.add(failed, seconds)
    text = metrics.render(
        [
            metrics.Family(
                'x_seconds', 'histogram', 'Ran.', metrics._histogram('exec', calls)
            )
        ]
    )

    [family] = parser.text_string_to_metric_families(text)

    assert family.type == 'histogram'
    found = {
        (sample.name, sample.labels.get('le')): sample.value
        for sample in family.samples
    }
    assert found['x_seconds_bucket', '0.001'] == 2
    assert found['x_seconds_bucket', '10.0'] == 3
    assert found['x_seconds_bucket', '60.0'] == 3
    assert found['x_seconds_bucket', '+Inf'] == found['x_seconds_count', None] == 4
    assert found['x_seconds_sum', None] == 104.0015
    assert (calls.errors, calls.longest) == (2, 99.0)


def test_numbers_of_facts_are_shown_and_nothing_else():
    facts = {
        'monitoring.load': {'load1m': 0.5},
        'monitoring.statistics.mail.queue': {'value': 12, 'type': 'integer'},
        'monitoring.statistics.mail.name': {'value': 'x', 'type': 'text'},
        'monitoring.cpus': 4,
    }
    source = types.SimpleNamespace(
        facts=lambda: {name: json.dumps(value) for name, value in facts.items()}
    )
    text = metrics.render([metrics._facts(source)])

    [family] = parser.text_string_to_metric_families(text)

    assert {sample.labels['name']: sample.value for sample in family.samples} == {
        'monitoring.load.load1m': 0.5,
        'monitoring.statistics.mail.queue.value': 12,
    }


def test_no_count_is_lost_between_threads():
    counted = counts.Counts()

    def count():
        for _ in range(20_000):
            counted.end('done')
            counted.refuse(ValueError())
            counted.run('exec', True, 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counted.ended == {'done': 80_000}
    assert counted.refused == {'ValueError': 80_000}
    assert counted.ran['exec'].errors == sum(counted.ran['exec'].buckets) == 80_000
