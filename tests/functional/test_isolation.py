# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own in a real agent, and the examples of doc/."""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading

import pytest

from devstack import processes
from guestagent import errors

pytestmark = pytest.mark.functional

EXAMPLES = pathlib.Path(__file__).parents[2] / 'doc/examples'


def children(pid):
    found = set()
    for thread in pathlib.Path(f'/proc/{pid}/task').iterdir():
        with contextlib.suppress(OSError):  # it has ended
            found |= set((thread / 'children').read_text().split())
    return {int(child) for child in found}


@pytest.fixture
def call(stock_client):
    def make(guest, namespace, method, **args):
        client = stock_client(guest.instance, timeout=30, namespace=namespace)
        return client.call({}, method, **args)

    return make


def test_an_extension_runs_beside_the_agent(agent, call, tmp_path):
    guest = agent(
        extensions='probe', options={'probe': {'isolate': True, 'isolate_idle': 1}}
    )
    looked, done = tmp_path / 'looked', []
    # While this runs, the process is not idle.
    climbing = threading.Thread(
        target=lambda: done.append(call(guest, 'probe', 'climb', to=str(looked)))
    )
    climbing.start()
    assert call(guest, 'probe', 'echo', value=[1]) == [1]
    [child] = processes.wait_for(lambda: children(guest.pid), 'the process is there')
    assert 'isolation.child' in pathlib.Path(f'/proc/{child}/cmdline').read_text()
    looked.touch()
    climbing.join(60)
    assert done == ['there']
    processes.wait_for(lambda: not children(guest.pid), 'the idle process has gone')
    assert call(guest, 'probe', 'mark', text='x') == 1


def test_a_process_that_is_killed_is_not_started_again_at_once(agent, call):
    guest = agent(extensions='probe', options={'probe': {'isolate': True}})

    def killed():
        call(guest, 'probe', 'echo')
        [child] = children(guest.pid)
        os.kill(child, signal.SIGKILL)
        processes.wait_for(lambda: not children(guest.pid), 'the process has gone')
        try:
            call(guest, 'probe', 'echo')
        except errors.Transient as error:
            return str(error)
        return None  # more than the wait has passed already; the next is twice as long

    assert 'killed by SIGKILL' in processes.wait_for(killed, 'it is refused', 120)
    # And the end of the agent is the end of the process.
    child = processes.wait_for(lambda: _started(guest, call), 'it was started again')
    guest.kill()
    processes.wait_for(
        lambda: not pathlib.Path(f'/proc/{child}').exists(), 'the process has gone'
    )


def _started(guest, call):
    try:
        call(guest, 'probe', 'echo')
    except errors.Transient:
        return None
    [child] = children(guest.pid)
    return child


def test_the_examples_in_shell_and_c_work(agent, conductor, call, guestctl, tmp_path):
    counter = tmp_path / 'counter'
    source = EXAMPLES / 'c/counter.c'
    subprocess.run(
        ['cc', '-Wall', '-Wextra', '-Werror', '-o', counter, source], check=True
    )
    conductor()
    guest = agent(
        extensions='load,counter',
        options={
            'load': {'command': EXAMPLES / 'shell/load.sh'},
            'counter': {'command': counter},
        },
    )
    assert call(guest, 'load', 'read')['load'] >= 0
    assert call(guest, 'counter', 'add') == 1
    assert call(guest, 'counter', 'add', number=41) == 42
    with pytest.raises(TypeError, match="argument 'number' must be int, not str"):
        call(guest, 'counter', 'add', number='x')
    processes.wait_for(
        lambda: '42' in guestctl('facts', guest.instance).stdout, 'the fact is there'
    )
    shown = guestctl('extension', 'show', guest.instance, 'counter')
    assert 'Add to the count and return it.' in shown.stdout
