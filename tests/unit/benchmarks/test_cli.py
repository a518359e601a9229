# SPDX-License-Identifier: Apache-2.0
"""The names of the rows, and what is said when one does not exist."""

import pytest

from tests.benchmarks import cli, registry


def test_names_of_rows_are_unique():
    names = [name for each in registry.load() for name in each.names]

    assert len(names) == len(set(names))


@pytest.mark.parametrize('name', ['start', 'start-A', 'start-B'])
def test_a_row_is_found_with_its_peer_and_without(name):
    assert [each.names for each in registry.load() if each.answers_to(name)] == [
        ('start',)
    ]


def test_a_name_that_does_not_exist(capsys):
    assert cli.main(['--only', 'starts']) == 2

    said = capsys.readouterr().err
    assert said.startswith("bench: no row is named 'starts'; there are: ")
    assert 'start,' in f'{said.strip()},'
