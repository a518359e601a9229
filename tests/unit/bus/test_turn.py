# SPDX-License-Identifier: Apache-2.0
"""Who reads from the hub."""

import threading
import time

import pytest

from guestagent.bus.driver import turn


class Waiting:
    """Whether anybody waits."""

    value = False

    def __call__(self):
        return self.value


@pytest.fixture
def waiting():
    return Waiting()


@pytest.fixture
def made(waiting):
    return turn.Turn(waiting)


def rests(made):
    """Return a thread that rests."""
    thread = threading.Thread(target=made.rest, daemon=True)
    thread.start()
    return thread


def test_one_reads_at_a_time(made):
    assert made.take()
    assert not made.take()
    made.give_back()
    assert made.take()


def test_the_listener_does_not_rest_while_somebody_waits(made, waiting, monkeypatch):
    monkeypatch.setattr(turn, 'REST_SECONDS', 3600.0)
    waiting.value = True
    made.rest()


@pytest.mark.parametrize('how', ['called', 'left behind'])
def test_the_listener_is_called(made, waiting, monkeypatch, how):
    monkeypatch.setattr(turn, 'REST_SECONDS', 3600.0)
    assert made.take()
    thread = rests(made)
    thread.join(0.05)
    assert thread.is_alive()
    if how == 'called':
        # Until it is heard: it may not rest yet.
        deadline = time.monotonic() + 30
        while thread.is_alive() and time.monotonic() < deadline:
            made.call_listener()
            thread.join(0.01)
    else:
        waiting.value = True
        made.give_back()
        thread.join(30)
    assert not thread.is_alive()


def test_the_listener_reads_again_when_nobody_calls(made, monkeypatch):
    monkeypatch.setattr(turn, 'REST_SECONDS', 0.01)
    assert made.take()
    made.give_back()
    made.rest()
