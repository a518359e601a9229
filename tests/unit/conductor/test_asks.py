# SPDX-License-Identifier: Apache-2.0
"""Who is asked for a full report: once a minute, at a rate, by one of many."""

import concurrent.futures
import time

import pytest
import sqlalchemy as sa

from guestagent.conductor.db import asks, store, tables


@pytest.fixture
def records(database) -> store.Store:
    return store.Store(database)


def _choose(database, now: float, rate: float = 1000.0) -> list[str]:
    return asks.choose(database, now, after=5.0, rate=rate)


def test_who_misses_facts_is_asked_once_a_minute(database, records, make):
    records.apply(
        [
            make('heartbeat', 'whole'),
            make('facts', 'whole', full=True, facts={'x.a': 1}),
            make('heartbeat', 'gap'),
            make('facts', 'gap', full=True, facts={'x.a': 1}),
            make('facts', 'gap', sequence=3, facts={'x.a': 3}),
            make('heartbeat', 'silent'),
            make('facts', 'new', facts={}),
        ],
        100.0,
    )

    assert _choose(database, 104.0) == []
    assert sorted(_choose(database, 106.0)) == ['gap', 'silent']
    assert _choose(database, 150.0) == []
    records.apply([make('facts', 'gap', sequence=2, facts={'x.a': 2})], 160.0)
    assert _choose(database, 170.0) == ['silent']
    records.apply([make('heartbeat', 'silent', sequence=2, status='stopping')], 180.0)
    assert _choose(database, 300.0) == []


def test_a_full_report_ends_the_asking(database, records, make):
    records.apply([make('heartbeat'), make('facts', sequence=3)], 100.0)
    assert _choose(database, 106.0) == ['i']

    records.apply([make('facts', sequence=4, full=True, facts={})], 107.0)

    assert _choose(database, 200.0) == []


def test_a_fleet_is_asked_at_the_rate(database, records, make):
    records.apply([make('heartbeat', f'i-{number}') for number in range(200)], 100.0)

    first = _choose(database, 110.0, rate=50)
    rest = [_choose(database, 110.0 + step / 10, rate=50) for step in range(1, 11)]

    assert len(first) == 50
    assert max(map(len, rest)) <= 6
    asked = [*first, *(name for found in rest for name in found)]
    assert 98 <= len(asked) == len(set(asked)) <= 100


def test_a_clock_that_was_set_back_does_not_stop_it(database, records, make):
    records.apply([make('heartbeat', f'i-{number}') for number in range(20)], 100.0)
    assert len(_choose(database, 10_000.0, rate=10)) == 10

    assert len(_choose(database, 200.0, rate=10)) == 10


def test_a_clock_that_is_a_bit_behind_waits_for_the_others(database, records, make):
    records.apply([make('heartbeat', f'i-{number}') for number in range(20)], 100.0)
    assert len(_choose(database, 110.5, rate=10)) == 10

    assert _choose(database, 110.0, rate=10) == []
    assert len(_choose(database, 111.0, rate=10)) == 5


def test_conductors_side_by_side_ask_each_once(database, records, make):
    now = time.time()
    records.apply([make('heartbeat', f'i-{number}') for number in range(300)], now - 10)

    def work(_: int) -> list[str]:
        return [name for _ in range(4) for name in _choose(database, now, rate=200)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        chosen = [name for found in pool.map(work, range(4)) for name in found]

    # One second's worth, whoever took it.
    assert len(chosen) == len(set(chosen)) == 200
    with database.reader.begin() as connection:
        asked = connection.scalar(
            sa.select(sa.func.count()).where(tables.instances.c.asked == now)
        )
    assert asked == 200
