# SPDX-License-Identifier: Apache-2.0
"""Calls that wait run on threads of their own, in order, and none holds up the end."""

import threading

from guestagent.bus import waiting


def test_one_thread_keeps_the_order():
    threads = waiting.Threads('test', 1)
    got = []
    names = set()

    for number in range(100):
        threads.submit(got.append, number)
        threads.submit(lambda: names.add(threading.current_thread().name))
    threads.wait_idle()

    assert got == list(range(100))
    assert names == {'test'}


def test_so_many_at_once_and_no_more():
    threads = waiting.Threads('test', 3)
    meeting = threading.Barrier(4)
    who = set()

    def call():
        who.add(threading.get_ident())
        meeting.wait(30)

    for _ in range(6):
        threads.submit(call)
    for _ in range(2):
        meeting.wait(30)  # three of them and we
    threads.wait_idle()

    assert len(who) == 3


def test_an_error_is_logged_and_ends_no_thread(caplog):
    threads = waiting.Threads('test', 1)
    got = []

    threads.submit(int, 'x')
    threads.submit(got.append, 1)
    threads.wait_idle()

    assert got == [1]
    assert 'int failed' in caplog.text


def test_the_threads_do_not_hold_up_the_end_of_the_process():
    threads = waiting.Threads('test', 1)
    is_daemon = []
    threads.submit(lambda: is_daemon.append(threading.current_thread().daemon))
    threads.wait_idle()
    assert is_daemon == [True]
