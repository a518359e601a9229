# SPDX-License-Identifier: Apache-2.0
"""Rates: what counters come to over the time between two looks."""

import threading
import time

import hypothesis
import pytest
from guestagent_monitoring import steady
from guestagent_monitoring.collectors import rates
from hypothesis import strategies

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes ...
    lo: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0
  eth0:{} {} 0 0 0 0 0 0 {} 4 0 0 0 0 0 0
"""


def test_the_first_look_has_no_rates():
    assert rates.Rates().follow(10.0, {'a': {'n': 5}}) is None


def test_rates_are_moves_per_second():
    followed = rates.Rates()
    followed.follow(10.0, {'a': {'n': 100, 'm': 1}})

    assert followed.follow(14.0, {'a': {'n': 110, 'm': 1}}) == {'a': {'n': 2.5, 'm': 0}}


def test_who_looks_too_soon_gets_what_the_last_got():
    followed = rates.Rates()
    followed.follow(10.0, {'a': {'n': 0}})
    assert followed.follow(10.5, {'a': {'n': 900}}) is None
    first = followed.follow(20.0, {'a': {'n': 100}})

    assert followed.follow(20.9, {'a': {'n': 900}}) is first
    # The hasty ones have not moved what the next rates are counted from.
    assert followed.follow(30.0, {'a': {'n': 200}}) == {'a': {'n': 10.0}}


def test_what_is_new_or_counts_anew_has_none_yet():
    followed = rates.Rates()
    followed.follow(0.0, {'gone': {'n': 1}, 'anew': {'n': 50}, 'goes on': {'n': 1}})

    told = followed.follow(
        10.0, {'new': {'n': 1}, 'anew': {'n': 3}, 'goes on': {'n': 11}}
    )

    assert told == {'goes on': {'n': 1.0}}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


def test_memory_network_and_processors_of_a_sample(tree, clock):
    root = tree(
        {
            'proc/vmstat': 'nr_free 1\npswpin 10\npswpout 0\npgfault 5\npgmajfault 1\n',
            'proc/net/dev': NET_DEV.format(1000, 10, 50),
            'proc/stat': 'cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\n',
        }
    )
    memory, traffic, usage = rates.MemoryRates(), rates.Traffic(), rates.CpuUsage()
    assert memory(root) is traffic(root) is usage(root) is None
    clock(10)
    tree(
        {
            'proc/vmstat': 'pswpin 30\npswpout 5\npgfault 105\npgmajfault 1\n',
            'proc/net/dev': NET_DEV.format(3000, 30, 50),
            # Waiting for disks has gone back.
            'proc/stat': 'cpu  150 10 70 900 40 10 10 0 0 0\ncpu0 1\n',
        }
    )

    assert memory(root) == {
        'swap_in': 2.0,
        'swap_out': 0.5,
        'faults': 10.0,
        'major_faults': 0.0,
    }
    found = traffic(root, ignored=['lo'])
    assert list(found) == ['eth0']
    assert (found['eth0']['rx_bytes'], found['eth0']['rx_packets']) == (200.0, 2.0)
    assert found['eth0']['tx_bytes'] == 0
    assert usage(root) == {
        'user': 30.0,
        'system': 20.0,
        'iowait': 0.0,
        'steal': 0.0,
        'idle': 50.0,
    }


def test_the_real_counters_move():
    before = rates.memory_counters()
    usage = rates.CpuUsage()
    usage()
    # A page is touched, and with it at least one fault is counted.
    touched = bytearray(64 * 1024 * 1024)
    touched[::4096] = b'x' * len(touched[::4096])

    assert rates.memory_counters()['faults'] > before['faults']
    assert set(before) == {'swap_in', 'swap_out', 'faults', 'major_faults'}


def test_many_may_look_at_once():
    traffic = rates.Traffic()
    told = []
    threads = [
        threading.Thread(target=lambda: told.append(traffic())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told == [None] * 8


NUMBERS = strategies.floats(0, 100, allow_nan=False)


@hypothesis.given(strategies.lists(NUMBERS, min_size=1))
def test_a_load_that_was_reported_is_never_far_off(loads):
    reported = None
    for number in loads:
        now = dict.fromkeys(('load1m', 'load5m', 'load15m'), number)
        reported = steady.load(reported, now)
        last = reported['load1m']
        assert abs(last - number) <= max(0.5, steady.RATE_SHARE * last)


def test_a_quiet_network_is_quiet_and_a_new_interface_is_told():
    quiet = dict.fromkeys(steady.TRAFFIC, 0.5)
    last = {'eth0': dict.fromkeys(steady.TRAFFIC, 0.0)}

    settled = steady.traffic(last, {'eth0': quiet, 'eth1': quiet})

    assert settled['eth0'] is last['eth0']
    assert settled['eth1'] is quiet
    busy = {**quiet, 'rx_bytes': 1e6}
    assert steady.traffic(settled, {'eth0': busy}) == {'eth0': busy}


def test_processors_that_do_a_little_more_are_no_news():
    idle = {'user': 1.0, 'system': 1.0, 'iowait': 0.0, 'steal': 0.0, 'idle': 98.0}

    assert steady.cpu_usage(idle, {**idle, 'user': 9.0, 'idle': 90.0}) is idle
    working = {**idle, 'user': 50.0, 'idle': 49.0}
    assert steady.cpu_usage(idle, working) is working
    faults = {'swap_in': 0.0, 'swap_out': 0.0, 'faults': 100.0, 'major_faults': 0.0}
    assert steady.memory_rates(faults, {**faults, 'faults': 900.0}) is faults
    assert steady.memory_rates(None, faults) is faults
