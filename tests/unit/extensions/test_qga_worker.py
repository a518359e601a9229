# SPDX-License-Identifier: Apache-2.0
"""The threads of the qga channel."""

import threading

import pytest
from guestagent_qga import worker

from devstack import processes


def test_each_is_called_at_once_and_threads_are_used_again():
    workers = worker.Workers()
    both, ended = threading.Barrier(3), threading.Semaphore(0)
    names = []

    def meet() -> None:
        names.append(threading.current_thread().ident)
        both.wait(30)
        ended.release()

    for _ in range(2):
        workers.submit(meet)
        workers.submit(meet)
        both.wait(30)
        assert ended.acquire(timeout=30)
        assert ended.acquire(timeout=30)
        processes.wait_for(lambda: workers._idle == 2, 'both wait for more')

    assert len(names) == 4
    assert len(set(names)) == 2


def test_an_idle_thread_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, 'IDLE_SECONDS', 0.01)
    workers = worker.Workers()
    seen: list[threading.Thread] = []

    workers.submit(lambda: seen.append(threading.current_thread()))

    processes.wait_for(lambda: seen and not seen[0].is_alive(), 'it ends')
    # The next one is called none the less.
    workers.submit(lambda: seen.append(threading.current_thread()))
    processes.wait_for(lambda: len(seen) == 2, 'it is called')
