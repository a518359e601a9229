# SPDX-License-Identifier: Apache-2.0
import threading
import time

from guestagent.agent import pool


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not come about'
        time.sleep(0.01)


def workers():
    """Return the workers of all pools; those of earlier tests may end at any time."""
    return {t for t in threading.enumerate() if t.name == 'worker'}


def test_threads_start_on_demand_up_to_the_size_and_end_when_idle():
    pooled = pool.Pool(2, 10, idle_seconds=0.2)
    before = workers()
    gate = threading.Event()
    done = []

    for number in range(5):
        assert pooled.submit(lambda n: (gate.wait(60), done.append(n)), number)
    wait_for(lambda: len(workers() - before) == 2)
    assert pooled.outstanding == 5
    gate.set()

    wait_for(lambda: sorted(done) == list(range(5)))
    wait_for(lambda: not workers() - before)
    assert pooled.submit(done.append, 'again')
    wait_for(lambda: done[-1] == 'again')


def test_what_does_not_fit_is_refused():
    pooled = pool.Pool(1, 1, idle_seconds=0.2)
    gate = threading.Event()
    pooled.submit(gate.wait, 60)
    pooled.submit(gate.wait, 60)

    assert not pooled.has_room
    assert not pooled.submit(gate.wait, 60)
    ran = threading.Event()
    assert pooled.submit(lambda _: ran.set(), None, reserve=True)
    gate.set()
    assert ran.wait(60)


def test_what_is_urgent_waits_for_no_worker():
    pooled = pool.Pool(1, 1, idle_seconds=0.2)
    gate, ran = threading.Event(), threading.Event()
    pooled.submit(gate.wait, 60)
    pooled.submit(gate.wait, 70)
    wait_for(lambda: [busy.argument for busy in pooled.busy().values()] == [60])

    pooled.urge(lambda _: ran.set(), None)

    assert ran.wait(60)
    assert [busy.argument for busy in pooled.busy().values()] == [60]
    gate.set()
    wait_for(lambda: pooled.outstanding == 0 and not pooled.busy())


def test_a_failing_function_does_not_cost_the_worker():
    pooled = pool.Pool(1, 5, idle_seconds=0.2)
    ran = threading.Event()
    pooled.submit(lambda _: 1 / 0, None)
    pooled.submit(lambda _: ran.set(), None)

    assert ran.wait(60)
    wait_for(lambda: pooled.outstanding == 0)


def test_one_worker_is_woken_and_those_that_are_not_needed_end():
    pooled = pool.Pool(4, 10, idle_seconds=0.3)
    before = workers()
    gate = threading.Event()
    for _ in range(4):
        pooled.submit(gate.wait, 60)
    wait_for(lambda: len(workers() - before) == 4)
    gate.set()
    wait_for(lambda: pooled.outstanding == 0)

    def call_again():
        done = threading.Event()
        assert pooled.submit(lambda _: done.set(), None)
        assert done.wait(60)
        return len(workers() - before) == 1

    wait_for(call_again)


def test_nothing_is_lost_when_workers_come_and_go():
    pooled = pool.Pool(3, 1000, idle_seconds=0.001)
    done = []

    for number in range(300):
        assert pooled.submit(done.append, number)
        time.sleep(0.0005 * (number % 5))

    wait_for(lambda: sorted(done) == list(range(300)))
    wait_for(lambda: pooled.outstanding == 0)


def test_work_that_has_a_place_frees_it_at_its_end():
    pooled = pool.Pool(1, 1, idle_seconds=0.2)
    gate = threading.Event()

    assert pooled.enter()
    assert pooled.enter()
    assert not pooled.enter()
    pooled.leave()
    pooled.run(lambda _: gate.wait(60), None)
    pooled.run(lambda _: None, None, leaves=True)

    assert pooled.outstanding == 1
    gate.set()
    wait_for(lambda: pooled.outstanding == 0)


def test_what_follows_is_done_by_the_worker_that_asks_for_it():
    pooled = pool.Pool(4, 10, idle_seconds=0.3)
    threads = []

    def first(_):
        threads.append(threading.get_ident())
        pooled.run(lambda _: threads.append(threading.get_ident()), None, follows=True)

    pooled.run(first, None)

    wait_for(lambda: len(threads) == 2)
    assert len(set(threads)) == 1


def test_long_work_keeps_none_that_are_free_from_the_rest():
    pooled = pool.Pool(4, 10, idle_seconds=0.3)
    gate = threading.Barrier(5)

    for _ in range(4):
        pooled.submit(lambda _: gate.wait(60), None)

    gate.wait(60)
    wait_for(lambda: pooled.free == 4)


def test_what_comes_at_once_is_shared_by_workers():
    pooled = pool.Pool(3, 10, idle_seconds=0.2)
    together = threading.Barrier(3)

    for _ in range(2):  # by new workers, and by those that are idle then
        for _ in range(3):
            assert pooled.submit(lambda _: together.wait(60), None)
        wait_for(lambda: pooled.outstanding == 0)
        assert not together.broken


def test_without_a_new_thread_those_that_run_take_what_waits(monkeypatch, caplog):
    pooled = pool.Pool(2, 10, idle_seconds=0.2)
    gate, done = threading.Event(), []
    pooled.submit(gate.wait, 60)
    wait_for(lambda: pooled.busy())

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', refuse)
    assert pooled.submit(done.append, 1)
    assert not done
    monkeypatch.undo()
    gate.set()

    wait_for(lambda: done == [1])
    assert "can't start" in caplog.text
