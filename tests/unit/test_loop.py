# SPDX-License-Identifier: Apache-2.0
import os
import signal
import socket
import threading
import time

from guestagent import loop as loops


def test_timers_run_in_order_and_cancelled_ones_do_not(loop):
    ran = []
    loop.call_later(0.02, lambda: ran.append('second'))
    loop.call_later(0.01, lambda: ran.append('first'))
    loop.call_later(0.015, lambda: ran.append('never')).cancel()
    loop.call_later(0.03, loop.stop)

    loop.run()

    assert ran == ['first', 'second']


def test_another_thread_wakes_the_loop(loop):
    began = time.monotonic()
    threading.Timer(0.05, loop.call_soon, [loop.stop]).start()

    loop.run()

    assert time.monotonic() - began < 10


def test_no_call_is_lost_between_many_threads(loop):
    seen = []

    def take(value):
        seen.append(value)
        if len(seen) == 4000:
            loop.stop()

    threads = [
        threading.Thread(
            target=lambda first=first: [
                loop.call_soon(take, first + n) for n in range(1000)
            ]
        )
        for first in range(0, 4000, 1000)
    ]
    for thread in threads:
        thread.start()
    guard = loop.call_later(60, loop.stop)
    loop.run()
    guard.cancel()

    assert sorted(seen) == list(range(4000))


def test_sockets_are_reported_and_forgotten(loop):
    left, right = socket.socketpair()
    got = []
    with left, right:
        loop.watch(left.fileno(), loops.READ, lambda _: got.append(left.recv(10)))
        right.send(b'x')
        loop.run_once(10)
        loop.unwatch(left.fileno())
        right.send(b'y')
        loop.run_once(0.05)
    assert got == [b'x']


def test_what_a_callback_raises_does_not_end_the_loop(loop, caplog):
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)

    loop.run()

    assert 'failed on the main thread' in caplog.text


def test_a_signal_is_taken_on_the_loops_thread(loop):
    old = signal.getsignal(signal.SIGUSR1)
    got = []
    try:
        loop.catch_signals((signal.SIGUSR1,), lambda n: (got.append(n), loop.stop()))
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, old)
        signal.set_wakeup_fd(-1)
    assert got == [signal.SIGUSR1]


def test_a_standstill_is_noticed_before_what_came_meanwhile(monkeypatch):
    loop = loops.Loop()
    order = []
    ours, theirs = socket.socketpair()
    loop.watch(ours.fileno(), loops.READ, lambda _events: order.append('read'))
    loop.stood_still.append(lambda seconds: order.append(round(seconds)))
    theirs.send(b'.')
    loop.run_once(1)
    now = iter([100.0, 165.0])
    monkeypatch.setattr(loops.time, 'clock_gettime', lambda _clock: next(now))
    loop.run_once(5)
    loop.close()
    ours.close()
    theirs.close()

    assert order == ['read', 60, 'read']
