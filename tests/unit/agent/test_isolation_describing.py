# SPDX-License-Identifier: Apache-2.0
"""The process that stays has no oslo.config, and the same options."""

import pytest

from guestagent import errors, testing
from guestagent.agent.isolation import describing, loading
from tests.unit.agent import isolation_bed as bed


@pytest.fixture
def slim(monkeypatch):
    """``slim(kind)`` returns the class that stands in for one of guestagent_slim."""
    monkeypatch.syspath_prepend(bed.HERE)

    def make(kind='Slim'):
        conf = bed.configuration('slim')
        argv = loading.program('slim', conf, f'guestagent_slim:{kind}')
        return loading.load('slim', conf, argv)

    return make


def test_what_reads_the_options_has_ended_with_what_it_imported(slim):
    with testing.started(slim(), name='slim') as made:
        assert testing.call(made, 'imported') is False
        assert testing.call(made, 'children') == []


def test_the_options_are_what_they_would_be(slim):
    given = {
        'count': '7',
        'wanted': 'true',
        'colours': 'blue, red',
        'sizes': 'a:1,b:2',
        'place': ['x', 'y'],
    }
    with testing.started(slim(), name='slim', options=given) as made:
        assert testing.call(made, 'told') == {
            'name': 'none',
            'count': 7,
            'ratio': 0.5,
            'wanted': True,
            'colours': ['blue', 'red'],
            'sizes': {'a': '1', 'b': '2'},
            'place': ['x', 'y'],
            'port': None,
        }
        with pytest.raises(AttributeError, match=r'no option nothing in \[slim\]'):
            testing.call(made, 'lacks')


def test_one_that_makes_no_sense_is_said(slim):
    with (
        testing.started(slim(), name='slim', options={'count': '0'}) as made,
        pytest.raises(errors.ConfigError, match=r'\[slim\] count'),
    ):
        testing.call(made, 'told')


def test_a_value_that_cannot_be_handed_over_is_read_where_it_is_used(slim):
    with testing.started(slim('Odd'), name='slim') as made:
        assert testing.call(made, 'told') == {'real': 1.0, 'imag': 2.0}
        assert testing.call(made, 'children') == []


def test_what_cannot_be_described_says_why(slim):
    with pytest.raises(errors.ExtensionDied, match='no options today'):
        slim('Fails')


def test_no_process_is_made_that_gains_nothing(monkeypatch):
    monkeypatch.syspath_prepend(bed.HERE)
    import guestagent_slim

    # As oslo.config is here already.
    made = describing.make('slim', guestagent_slim.Slim)
    assert type(made) is describing.Describer
