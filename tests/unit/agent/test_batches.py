# SPDX-License-Identifier: Apache-2.0
import threading

from guestagent.agent import batches


def test_one_takes_what_all_have_brought():
    found = batches.Batches()

    assert found.add(1)
    assert not found.add(2)
    assert found.take() == [1, 2]
    assert not found.add(3)
    assert found.take() == [3]
    assert found.taken
    assert found.take() == []
    assert not found.taken
    assert found.add(4)


def test_as_many_are_taken_as_are_wanted_and_the_rest_keeps_its_taker():
    found = batches.Batches()
    for item in range(3):
        found.add(item)

    assert found.take(2) == [0, 1]
    assert not found.leave()
    assert found.take(2) == [2]
    assert found.leave()
    assert found.add(3)


def test_nothing_is_left_lying_whoever_comes_when():
    found = batches.Batches()
    taken = []

    def bring(first):
        for item in range(first, first + 500):
            if found.add(item):
                while several := found.take():
                    taken.extend(several)

    threads = [threading.Thread(target=bring, args=(500 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(taken) == list(range(2000))
