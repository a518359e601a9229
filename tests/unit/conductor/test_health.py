# SPDX-License-Identifier: Apache-2.0
"""What makes a conductor unhealthy, and when its watchdog starves."""

import os
import signal
import socket
import threading

import pytest

from devstack import processes
from guestagent import systemd
from guestagent.conductor import health, supervision


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(clock):
    made = health.Health(30, clock)
    made.broker = ''
    made.database_answered()
    return made


def test_all_is_well(state):
    assert state.problems() == []


def test_each_problem_is_named(state, clock):
    state.broker, state.database = 'lost', 'full'
    clock.now += health.STALL

    assert state.problems() == [
        'database: full',
        'broker: lost',
        'the thread that takes reports hangs',
    ]


def test_before_anything_is_known_it_is_not_well(clock):
    assert len(health.Health(30, clock).problems()) == 2


def test_a_database_that_says_nothing_is_away_after_a_while(state, clock):
    clock.now += 30
    state.beat()
    assert state.problems() == []
    clock.now += 1
    assert state.problems() == ['database: no answer for 31 s']
    state.database_answered()
    assert state.problems() == []


def test_the_watchdog_is_fed_while_the_listener_lives_and_signals_are_served(
    state, clock, tmp_path
):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / 'notify'))
    manager.settimeout(30)
    environ = {'NOTIFY_SOCKET': str(tmp_path / 'notify'), 'WATCHDOG_USEC': '20000'}
    reloads = []
    made = supervision.Supervision(
        state, lambda: reloads.append(1), systemd.Notifier(environ)
    )
    heard = []

    def listen():
        while heard[-1:] != ['STOPPING=1']:
            heard.append(manager.recv(4096).decode().split('\n')[0])

    def steps():
        processes.wait_for(lambda: heard.count('WATCHDOG=1') > 2, 'it is fed')
        clock.now += health.STALL
        processes.wait_for(lambda: 'the thread that' in str(heard), 'it is told')
        os.kill(os.getpid(), signal.SIGHUP)
        processes.wait_for(lambda: 'RELOADING=1' in heard, 'it reloads')
        os.kill(os.getpid(), signal.SIGTERM)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    threads = [threading.Thread(target=work) for work in (listen, steps)]
    try:
        made.catch_signals()
        for thread in threads:
            thread.start()
        made.wait()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for thread in threads:
            thread.join(30)
        manager.close()

    assert reloads == [1]
    assert heard[:2] == ['READY=1', 'STATUS=taking reports']
    # What is fed no more: not one after the listener was found hanging.
    hanging = next(i for i, state in enumerate(heard) if 'the thread' in state)
    assert [state for state in heard[hanging + 1 :] if state != 'READY=1'] == [
        'RELOADING=1',
        'STOPPING=1',
    ]
