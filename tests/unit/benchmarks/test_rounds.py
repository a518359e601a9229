# SPDX-License-Identifier: Apache-2.0
"""Interleaving is fair: each server is first, second and last equally often."""

from tests.benchmarks import rounds


def test_every_round_visits_all_in_another_order():
    visits = list(rounds.interleave(('ours', 'A', 'B'), 3))

    assert visits == ['ours', 'A', 'B', 'A', 'B', 'ours', 'B', 'ours', 'A']


def test_samples_keep_the_rounds_apart():
    figures = iter(range(4))

    samples = rounds.sample(('ours', 'A'), 2, lambda name: next(figures))

    assert samples == {'ours': [0, 3], 'A': [1, 2]}
