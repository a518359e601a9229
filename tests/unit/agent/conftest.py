# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own, for the tests that need some."""

import sys

import pytest

from guestagent.agent.isolation import keeper, loading
from tests.unit.agent import isolation_bed as bed


@pytest.fixture
def load(monkeypatch):
    """``load(**options)`` returns the class that stands in for ``Isolated``."""
    monkeypatch.syspath_prepend(bed.HERE)
    monkeypatch.setattr(keeper, 'DELAY', 0.3)

    def make(kind='Isolated', **options):
        conf = bed.configuration('isolated', **options)
        argv = loading.program('isolated', conf, f'guestagent_isolated:{kind}')
        return loading.load('isolated', conf, argv)

    return make


@pytest.fixture
def bad(monkeypatch):
    """``bad(how)`` returns the class that stands in for a bad program."""
    monkeypatch.setattr(keeper, 'DELAY', 0.3)

    def make(how, **options):
        command = f'{sys.executable} {bed.HERE / "bad.py"} {how}'
        conf = bed.configuration('isolated', command=command, **options)
        return loading.load('isolated', conf, loading.program('isolated', conf, None))

    return make
