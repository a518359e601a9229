# SPDX-License-Identifier: Apache-2.0
"""The figures of ``guestctl top``."""

import pytest

from guestagent.ctl import top

FACTS = {
    'monitoring.cpu_usage': {'user': 10.0, 'system': 5.0, 'idle': 80.0},
    'monitoring.load': {'load1m': 0.25},
    'monitoring.memory': {'total': 1000, 'available': 250, 'free': 10},
    'monitoring.swap': {'total': 0, 'free': 0},
    'monitoring.filesystems': [
        {'total': 100, 'used': 20},
        {'total': 10, 'used': 9},
        {'total': None, 'used': None},
    ],
    'monitoring.traffic': {
        'eth0': {'rx_bytes': 1000, 'tx_bytes': 1},
        'eth1': {'rx_bytes': 24, 'tx_bytes': 2},
    },
}


def test_what_a_guest_does():
    assert top.figures(FACTS) == {
        'cpu %': 20.0,
        'load': 0.25,
        'memory %': 75.0,
        'swap %': None,
        'fullest %': 90.0,
        'in': 1024,
        'out': 3,
    }


def test_one_that_has_told_nothing():
    assert set(top.figures({}).values()) == {None}


@pytest.mark.parametrize('name', FACTS)
@pytest.mark.parametrize(
    'told',
    [
        'x',
        1,
        [1],
        [{'total': 'x', 'used': 'y'}],
        {'idle': 'x', 'load1m': [], 'total': 'x', 'eth0': 1},
        {'total': 1},
        {'idle': True, 'load1m': 10**400, 'eth0': {'rx_bytes': 'x', 'tx_bytes': None}},
    ],
)
def test_one_that_tells_nonsense_does_not_hide_the_others(name, told):
    made = top.figures({name: told})
    assert set(made.values()) == {None}
    assert {top._cell(each, made[each]) for each in made} == {'-'}


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0, '0'), (999, '999'), (1024, '1.0K'), (20480, '20K'), (5 * 2**50, '5120.0T')],
)
def test_amounts(value, text):
    assert top._amount(value) == text
