# SPDX-License-Identifier: Apache-2.0
"""Numbers of facts are kept for a while, no more of them than a step allows."""

import json

import pytest

from guestagent import numbers
from guestagent.conductor import rules, series
from guestagent.conductor.db import points, store, upkeep

NICS = {'eth0': {'rx_bytes': 5, 'name': 'x'}, 'eth1': {'rx_bytes': 7.5}}


@pytest.mark.parametrize(
    ('value', 'found'),
    [
        (3, {'f': 3.0}),
        (
            {'a': 1, 'b': {'c': 2.5, 'd': True, 'e': None, 'g': 'x'}},
            {'f.a': 1, 'f.b.c': 2.5},
        ),
        (NICS, {'f.eth0.rx_bytes': 5, 'f.eth1.rx_bytes': 7.5}),
        ([{'mount_point': '/', 'used': 1}, {'used': 2}, 3], {'f./.used': 1}),
        ({'a': {'b': {'c': {'d': 1}}}}, {}),
        ({'x' * 300: 1, 'a\n': 2}, {}),
        (10**400, {}),
        (float('inf'), {}),
    ],
)
def test_numbers_of_a_fact(value, found):
    assert numbers.numbers('f', json.dumps(value)) == found


def test_a_fact_has_so_many_numbers_and_no_more():
    many = {str(number): number for number in range(1000)}

    assert len(numbers.numbers('f', json.dumps(many))) == numbers.NUMBERS_MAX
    assert numbers.numbers('f', json.dumps('x' * numbers.TEXT_MAX)) == {}


@pytest.mark.parametrize(
    ('before', 'now', 'due'),
    [
        (None, 5, True),
        (59, 60, True),
        (60, 119, False),
        (60, 120, True),
        (60, 59, True),
    ],
)
def test_one_point_in_a_step(before, now, due):
    assert series.is_due(before, now, 60.0) is due


def test_points_are_kept_thinned_and_forgotten(database, make):
    kept = store.Store(database, rules.Settings(series_step=10.0, series=('a.*',)))

    def report(at, sequence, **facts):
        kept.apply([make('facts', 'vm', sequence=sequence, facts=facts)], at)

    report(1000.0, 1, **{'a.mem': {'free': 5, 'total': 9}, 'b.mem': 1})
    report(1003.0, 2, **{'a.mem': {'free': 6, 'total': 9}})
    report(1012.0, 3, **{'a.mem': {'free': 7, 'total': 9}})
    report(1013.0, 4, **{'a.mem': {'free': 8, 'total': 9}})

    def read(prefix, since=0.0, until=2000.0):
        return points.read(database, 'vm', prefix, since, until)

    assert read('a.mem') == {
        'a.mem.free': [[1000.0, 5.0], [1012.0, 7.0], [1013.0, 8.0]],
        'a.mem.total': [[1000.0, 9.0], [1012.0, 9.0], [1013.0, 9.0]],
    }
    assert read('a.mem.free', since=1005.0, until=1012.5) == {
        'a.mem.free': [[1012.0, 7.0]]
    }
    assert read('a.me') == read('b.mem') == read('A.mem') == {}

    assert upkeep.prune(database, 1005.0 + upkeep.DAY, 0, 0, 100, 1.0) == 2
    assert [point[0] for point in read('a.mem.free')['a.mem.free']] == [1012.0, 1013.0]


def test_no_series_where_none_are_wanted(database, make):
    kept = store.Store(database, rules.Settings(series_step=0.0, series=('*',)))
    kept.apply([make('facts', 'vm', full=True, facts={'a': 1})], 1000.0)

    assert points.read(database, 'vm', 'a', 0.0, 2000.0) == {}


def test_a_long_series_is_thinned_evenly_and_ends_where_it_ends(monkeypatch):
    monkeypatch.setattr(points, 'POINTS_MAX', 10)

    thin = points._thin([[float(at), 0.0] for at in range(95)])

    assert len(thin) <= 11
    assert thin[0][0] == 0.0
    assert thin[-1][0] == 94.0


def test_too_many_points_are_not_read(database, make, monkeypatch):
    monkeypatch.setattr(points, 'READ_MAX', 1)
    kept = store.Store(database, rules.Settings(series=('*',)))
    kept.apply([make('facts', 'vm', full=True, facts={'a': {'b': 1, 'c': 2}})], 1000.0)

    with pytest.raises(points.TooMany):
        points.read(database, 'vm', 'a', 0.0, 2000.0)
