# SPDX-License-Identifier: Apache-2.0
"""When the next attempt is made, and at which broker."""

import pytest

from guestagent.bus import attempts, url

RETRY = attempts.Retry(delay=1, splay=0, longest=5)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def longest(monkeypatch):
    """Let chance always give the longest wait."""
    monkeypatch.setattr(attempts.random, 'uniform', lambda _low, high: high)


@pytest.mark.usefixtures('longest')
def test_waits_double_up_to_the_longest(clock):
    backoff = attempts.Backoff(RETRY, clock=clock)

    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_fleet_that_lost_its_broker_spreads(clock):
    fleet = [attempts.Backoff(RETRY, clock=clock) for _ in range(200)]
    for _ in range(3):
        last = [backoff.failed() for backoff in fleet]

    assert 2 <= min(last) < 2.5 < 3.5 < max(last) <= 4


@pytest.mark.usefixtures('longest')
def test_the_others_are_tried_before_there_is_a_wait(clock):
    backoff = attempts.Backoff(RETRY, 3, clock)

    assert [backoff.failed() for _ in range(7)] == [0, 0, 1, 0, 0, 2, 0]


def test_the_splay_is_added_to_each_wait(clock):
    backoff = attempts.Backoff(attempts.Retry(1, 10, 5), 2, clock)

    first = [backoff.failed() for _ in range(200)]

    assert min(first) < 5 < 5.5 < max(first) <= 15
    assert len(set(first)) > 100


@pytest.mark.usefixtures('longest')
def test_only_what_held_counts_as_a_success(clock):
    backoff = attempts.Backoff(RETRY, clock=clock)
    assert [backoff.failed(), backoff.failed()] == [1, 2]

    backoff.succeeded()
    clock.now += attempts.STEADY_SECONDS - 1
    assert backoff.failed() == 4

    backoff.succeeded()
    clock.now += attempts.STEADY_SECONDS
    assert backoff.failed() == 1


def brokers(count):
    return [url.Broker(f'host-{n}', 5672, 'a', 'b') for n in range(count)]


def visit(taken, count):
    seen = []
    for _ in range(count):
        seen.append(taken.current)
        taken.advance()
    return seen


def test_brokers_take_turns_in_an_order_of_the_agents_own():
    given = brokers(5)
    seen = visit(attempts.Brokers(given, shuffle=False), 15)

    assert seen[:5] == seen[5:10] == seen[10:]
    assert sorted(seen[:5], key=str) == given
    orders = {
        tuple(visit(attempts.Brokers(given, shuffle=False), 5)) for _ in range(40)
    }
    assert len(orders) > 5


def test_shuffled_brokers_all_have_their_turn_each_time_around():
    given = brokers(5)
    seen = visit(attempts.Brokers(given, shuffle=True), 200)

    rounds = [seen[start : start + 5] for start in range(0, 200, 5)]
    assert all(sorted(one, key=str) == given for one in rounds)
    assert len({tuple(one) for one in rounds}) > 5
