# SPDX-License-Identifier: Apache-2.0
"""Rows: ratios within a round, verdicts, the table."""

import pytest

from tests.benchmarks import report

AT_MOST = report.Target('ratio', '<=', 0.5)


def test_the_ratio_is_the_median_of_each_rounds_own():
    # Given: the second round ran while the machine was three times as slow.
    samples = {'ours': [1.0, 3.0, 1.0], 'A': [2.0, 6.0, 2.0], 'B': [1.0, 1.0, 1.0]}

    row = report.compare('p50', 'A', samples, 'ms', AT_MOST)

    assert (row.name, row.ours, row.peer, row.ratio) == ('p50-A', 1.0, 2.0, 0.5)
    assert row.verdict == 'reached'


def test_a_ratio_above_its_bound_is_missed():
    row = report.compare('p50', 'A', {'ours': [1.02], 'A': [2.0]}, 'ms', AT_MOST)

    assert row.verdict == 'missed'


@pytest.mark.parametrize(
    ('target', 'ours', 'peer', 'verdict'),
    [
        (report.Target('ratio', '>=', 3), 3000, 1000, 'reached'),
        (report.Target('ratio', '>=', 3), 2990, 1000, 'missed'),
        (report.Target('ours', '<', 0.5), 0.5, 70, 'missed'),
        (report.Target('ours', '<', 0.5), 0.49, 0.2, 'reached'),
        (report.Target('ours', '<=', 1), 1.0, 8.0, 'reached'),
    ],
)
def test_targets(target, ours, peer, verdict):
    row = report.compare('x', 'A', {'ours': [ours], 'A': [peer]}, 'ms', target)

    assert row.verdict == verdict


def test_a_peer_of_nothing_gives_no_ratio_and_no_error():
    row = report.compare(
        'growth',
        'A',
        {'ours': [0.5], 'A': [0.0]},
        'MiB',
        report.Target('ours', '<=', 1),
    )

    assert row.as_dict()['ratio'] is None
    assert row.verdict == 'reached'


def test_rounds_that_lack_a_figure_are_an_error():
    with pytest.raises(ValueError, match='shorter'):
        report.compare('x', 'A', {'ours': [1.0, 1.0], 'A': [1.0]}, 'ms', AT_MOST)


def test_what_the_file_holds():
    row = report.compare('p50', 'A', {'ours': [1.0], 'A': [3.0]}, 'ms', AT_MOST, 'why')

    assert row.as_dict() == {
        'name': 'p50-A',
        'ours': 1.0,
        'peer': 3.0,
        'unit': 'ms',
        'ratio': 0.3333,
        'target': 'ratio <= 0.5',
        'verdict': 'reached',
        'note': 'why; rounds: 1',
    }


def test_the_table_has_a_line_for_each_row_and_its_note():
    rows = [
        report.compare(
            'p50', 'A', {'ours': [1.0] * 4, 'A': [4.0] * 4}, 'ms', AT_MOST, 'why'
        )
    ]

    lines = report.table(rows).splitlines()

    assert lines[2].split() == [
        'p50-A',
        '1',
        '4',
        'ms',
        '0.250',
        'ratio',
        '<=',
        '0.5',
        'reached',
    ]
    assert lines[-1] == 'p50-A: why; rounds: 4, ratio 0.250 to 0.250 (quartiles)'
