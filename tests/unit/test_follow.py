# SPDX-License-Identifier: Apache-2.0
"""Following events whose order of ids is not that of their commits."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import follow


def ask(cursor: follow.Cursor, visible: list[int], now: float) -> tuple[int, list[int]]:
    """One round: where it began, and what was new."""
    after = cursor.begin(now)
    new = [number for number in sorted(visible) if number > after]
    new = [number for number in new if cursor.take(number, now)]
    cursor.end()
    return after, new


def test_an_event_that_appears_late_is_seen_once() -> None:
    cursor = follow.Cursor(10, settled_after=30, look_back_every=5)

    assert ask(cursor, [10, 11, 13], 0) == (10, [11, 13])
    assert ask(cursor, [10, 11, 13], 1) == (10, [])
    assert ask(cursor, [10, 11, 12, 13], 2) == (13, [])
    assert ask(cursor, [10, 11, 12, 13, 14], 6) == (10, [12, 14])
    assert ask(cursor, [10, 11, 12, 13, 14], 12) == (10, [])


def test_what_is_settled_is_not_asked_for_again() -> None:
    cursor = follow.Cursor(0, settled_after=30, look_back_every=5)
    ask(cursor, [1, 3], 0)
    ask(cursor, [1, 3, 4], 20)

    assert ask(cursor, [1, 3, 4], 31) == (0, [])
    assert ask(cursor, [1, 3, 4], 32) == (4, [])
    assert ask(cursor, [1, 3, 4], 37) == (3, [])
    # From here on nothing is open, and it only asks for what is after the last.
    assert ask(cursor, [1, 3, 4], 60) == (3, [])
    assert ask(cursor, [1, 3, 4], 90) == (4, [])


def test_an_answer_that_is_not_read_to_its_end_settles_nothing() -> None:
    cursor = follow.Cursor(0, settled_after=30, look_back_every=5)
    ask(cursor, [1, 3], 0)

    assert cursor.begin(40) == 0
    # No end(): the connection was lost.
    assert ask(cursor, [1, 2, 3], 50) == (0, [2])


@settings(max_examples=200, deadline=None)
@given(
    writes=st.lists(
        st.tuples(
            st.floats(0, 3),  # seconds after the one before
            st.one_of(st.none(), st.floats(0, 29)),  # until its commit, or never
        ),
        max_size=60,
    ),
    polls=st.lists(st.floats(0.1, 20), min_size=1, max_size=40),
)
def test_each_event_is_seen_exactly_once(
    writes: list[tuple[float, float | None]], polls: list[float]
) -> None:
    clock = itertools.accumulate(pause for pause, _ in writes)
    commits = {
        number: at + delay
        for number, (at, (_, delay)) in enumerate(
            zip(clock, writes, strict=True), start=1
        )
        if delay is not None
    }
    cursor, seen = follow.Cursor(), []
    end = max(commits.values(), default=0) + 1
    times = [*itertools.accumulate(polls), end, end + 6]
    for now in sorted(times):
        visible = [number for number, at in commits.items() if at <= now]
        seen += ask(cursor, visible, now)[1]

    assert sorted(seen) == sorted(commits)


def test_changes_among_facts() -> None:
    before = {
        'a': {'value': 1, 'updated': 't0'},
        'b': {'value': 2, 'updated': 't0'},
        'c': {'value': 3, 'updated': 't0'},
    }
    now = {
        'a': {'value': 1, 'updated': 't0'},
        'c': {'value': 4, 'updated': 't1'},
        'd': {'value': 5, 'updated': 't1'},
    }

    assert list(follow.changes(before, now)) == [
        {'key': 'b', 'change': 'removed', 'value': 2, 'updated': None},
        {'key': 'c', 'change': 'changed', 'value': 4, 'updated': 't1'},
        {'key': 'd', 'change': 'new', 'value': 5, 'updated': 't1'},
    ]
