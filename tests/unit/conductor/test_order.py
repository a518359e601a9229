# SPDX-License-Identifier: Apache-2.0
"""Which sequences are believed, and which are missing."""

from hypothesis import given
from hypothesis import strategies as st

from guestagent.conductor import order


def _believed(*sequences: int, newest: int = 0) -> list[int]:
    """Return those that count, taken one after the other."""
    candidate = None
    counted = []
    for sequence in sequences:
        believed, candidate = order.judge(newest, candidate, sequence)
        if believed:
            counted.append(sequence)
            if sequence > newest or newest - sequence > order.FAR:
                newest = sequence
    return counted


def test_the_first_is_believed_whatever_it_is():
    assert _believed(10**15) == [10**15]


def test_one_from_the_future_blocks_nothing():
    assert _believed(10**15, 8, 9, newest=7) == [8, 9]


def test_two_that_go_on_from_each_other_are_believed():
    assert _believed(10**15, 10**15 + 1, newest=7) == [10**15 + 1]


def test_the_same_twice_is_not_going_on():
    assert _believed(10**15, 10**15, newest=7) == []


def test_what_comes_between_takes_a_candidate_away():
    assert _believed(10**15, 8, 10**15 + 1, 9, newest=7) == [8, 9]


def test_a_count_that_began_in_the_future_is_left_again():
    assert _believed(10**15, 1, 2, 3) == [10**15, 2, 3]


@given(st.sets(st.integers(1, 60)))
def test_ranges_hold_what_was_added_in_any_order(numbers):
    ranges = order.Ranges()
    for number in numbers:
        ranges = order.Ranges(str(ranges))
        ranges.add(number)
        ranges.add(number)

    held = [
        number
        for piece in str(ranges).split(',')
        if piece
        for number in range(int(piece.split('-')[0]), int(piece.split('-')[1]) + 1)
    ]
    if str(ranges).count(',') + 1 < order.MOST_RANGES:
        assert held == sorted(numbers)
    assert set(held) <= numbers
    assert ranges.newest == max(numbers, default=0)


@given(st.permutations(range(1, 200)), st.integers(1, 199))
def test_a_hole_is_never_forgotten(numbers, lost):
    ranges = order.Ranges()
    for number in numbers:
        if number != lost:
            ranges.add(number)
            assert len(str(ranges)) < 1000

    assert not ranges.unbroken(1) or lost == 199


def test_a_beginning_forgets_what_was_before():
    ranges = order.Ranges('1-4,6-9,11-11')
    ranges.begin(8)

    assert str(ranges) == '8-9,11-11'
    assert not ranges.unbroken(8)
    ranges.add(10)
    assert ranges.unbroken(8)
