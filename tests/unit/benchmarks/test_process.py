# SPDX-License-Identifier: Apache-2.0
"""What is read of another process, against a process that does what it is told."""

import subprocess
import sys

import pytest

from tests.benchmarks import process

#: Answers each line when it has done it: more memory, work in a thread that ends, or
#: a thread that sleeps many times.
_PROGRAM = """
import sys, threading, time
def burn():
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
def doze():
    for _ in range(100):
        time.sleep(0.0001)
    ready.set()
    threading.Event().wait()
ready = threading.Event()
for line in sys.stdin:
    what = line.strip()
    if what == 'grow':
        kept = bytearray(b'x') * (20 << 20)
    elif what == 'burn':
        thread = threading.Thread(target=burn)
        thread.start()
        thread.join()
    elif what == 'doze':
        threading.Thread(target=doze, daemon=True).start()
        ready.wait()
    print('done', flush=True)
"""


class Puppet:
    def __init__(self):
        self._child = subprocess.Popen(
            [sys.executable, '-c', _PROGRAM],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._child.pid

    def do(self, what):
        self._child.stdin.write(f'{what}\n')
        self._child.stdin.flush()
        assert self._child.stdout.readline() == 'done\n'

    def end(self):
        self._child.communicate()


@pytest.fixture
def puppet():
    puppet = Puppet()
    puppet.do('nothing')
    yield puppet
    puppet.end()


@pytest.fixture
def another(puppet):
    other = Puppet()
    other.do('grow')
    yield other
    other.end()


def test_memory_grows_by_what_was_allocated(puppet):
    before = process.memory(puppet.pid)
    puppet.do('grow')
    after = process.memory(puppet.pid)

    for figure in ('rss', 'anonymous', 'unique', 'proportional'):
        grown = getattr(after, figure) - getattr(before, figure)
        assert grown == pytest.approx(20, rel=0.1)


def test_what_two_share_counts_once(puppet, another):
    alone = {
        pid: (process.together([pid]), process.memory(pid))
        for pid in (puppet.pid, another.pid)
    }
    for together, memory in alone.values():
        # Whoever else has its files, all of it is there.
        assert together == pytest.approx(memory.rss, rel=0.02)
    both = process.together([puppet.pid, another.pid])
    own = sum(memory.anonymous for _, memory in alone.values())
    files = [memory.rss - memory.anonymous for _, memory in alone.values()]
    assert own + max(files) == pytest.approx(both, rel=0.05)
    assert both < sum(memory.rss for _, memory in alone.values()) - min(files) / 2


def test_processor_time_includes_threads_that_have_ended(puppet):
    before = process.cpu_ns(puppet.pid)
    puppet.do('burn')

    assert process.cpu_ns(puppet.pid) - before >= 0.2e9


def test_switches_of_all_threads_count(puppet):
    before = process.switches(puppet.pid)
    puppet.do('doze')
    after = process.switches(puppet.pid)

    assert process.threads(puppet.pid) == 2
    assert process.switches_between(before, after) >= 100


def test_a_thread_that_ended_takes_nothing_away():
    assert process.switches_between({1: 10, 2: 500}, {1: 13, 3: 4}) == 7


def test_a_process_that_is_not_there():
    with pytest.raises(OSError, match='4194304'):
        process.memory(1 << 22)
