# SPDX-License-Identifier: Apache-2.0
import hypothesis
from guestagent_monitoring import steady
from hypothesis import strategies

TOTAL = 1000
AMOUNTS = strategies.integers(0, TOTAL)


def a_memory(free):
    return {'total': TOTAL, 'available': free, 'free': free}


def a_filesystem(used, point='/'):
    return {
        'mount_point': point,
        'device': '/dev/vda',
        'type': 'ext4',
        'read_only': False,
        'total': TOTAL,
        'used': used,
        'free': TOTAL - used,
    }


@hypothesis.given(strategies.lists(AMOUNTS, min_size=1))
def test_what_was_reported_is_never_further_off_than_the_share(amounts):
    reported = None
    for amount in amounts:
        reported = steady.memory(reported, a_memory(amount))
        assert abs(reported['free'] - amount) <= steady.MEMORY_SHARE * TOTAL


@hypothesis.given(AMOUNTS, strategies.lists(strategies.integers(-25, 25)))
def test_a_quiet_guest_is_quiet_wherever_it_stands(start, steps):
    reported = a_memory(start)
    for step in steps:
        assert steady.memory(reported, a_memory(start + step)) is reported


def test_a_slow_drift_is_told_in_steps():
    reported, changes = a_memory(0), 0
    for amount in range(TOTAL + 1):
        settled = steady.memory(reported, a_memory(amount))
        changes += settled is not reported
        reported = settled
    assert 15 <= changes <= 20


def test_a_change_of_the_total_is_told():
    larger = {**a_memory(500), 'total': TOTAL + 1}

    assert steady.memory(a_memory(500), larger) is larger


def test_no_swap_is_quiet():
    nothing = {'total': 0, 'free': 0}

    assert steady.memory(nothing, dict(nothing)) is nothing
    assert steady.memory(nothing, {'total': 8, 'free': 8})['total'] == 8


def test_all_is_told_when_one_amount_has_moved():
    moved = {'total': TOTAL, 'available': 490, 'free': 100}

    assert steady.memory(a_memory(500), moved) is moved


def test_each_filesystem_settles_by_itself():
    last = [a_filesystem(500), a_filesystem(500, '/data'), a_filesystem(5, '/gone')]
    now = [a_filesystem(505), a_filesystem(520, '/data'), a_filesystem(7, '/new')]

    assert steady.filesystems(last, now) == [last[0], now[1], now[2]]
    assert steady.filesystems(None, now) == now


def test_what_is_no_amount_counts_at_once():
    last = [a_filesystem(500)]
    for change in (
        {'read_only': True},
        {'device': '/dev/vdb'},
        {'used': None},
        {'more': 1},
    ):
        now = [{**a_filesystem(500), **change}]
        assert steady.filesystems(last, now) == now
        assert steady.filesystems(now, last) == last


def test_a_corrected_clock_does_not_move_the_start():
    assert steady.boot_time(None, 1000) == 1000
    assert steady.boot_time(1000, 1010) == 1000
    assert steady.boot_time(1000, 989) == 989
