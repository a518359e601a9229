# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own in a real agent, and the examples of doc/."""

import os
import pathlib
import signal
import subprocess

import pytest

from devstack import processes
from guestagent import errors

pytestmark = pytest.mark.functional

EXAMPLES = pathlib.Path(__file__).parents[2] / 'doc/examples'


def children(pid):
    text = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text()
    threads = pathlib.Path(f'/proc/{pid}/task').iterdir()
    found = [(thread / 'children').read_text() for thread in threads]
    return [int(child) for child in ' '.join([text, *found]).split()]


@pytest.fixture
def call(stock_client):
    def make(guest, namespace, method, **args):
        client = stock_client(guest.instance, timeout=30, namespace=namespace)
        return client.call({}, method, **args)

    return make


def test_an_extension_runs_beside_the_agent(agent, call):
    guest = agent(
        extensions='probe', options={'probe': {'isolate': True, 'isolate_idle': 1}}
    )
    assert call(guest, 'probe', 'echo', value=[1]) == [1]
    [child] = set(children(guest.pid))
    assert 'isolation.child' in pathlib.Path(f'/proc/{child}/cmdline').read_text()
    processes.wait_for(lambda: not children(guest.pid), 'the idle process has gone')
    assert call(guest, 'probe', 'mark', text='x') == 1

    [child] = set(children(guest.pid))
    os.kill(child, signal.SIGKILL)
    processes.wait_for(lambda: not children(guest.pid), 'the process has gone')
    with pytest.raises(errors.Transient, match='killed by SIGKILL'):
        call(guest, 'probe', 'echo')


def test_the_end_of_the_agent_is_the_end_of_the_process(agent, call):
    guest = agent(extensions='probe', options={'probe': {'isolate': True}})
    call(guest, 'probe', 'echo')
    [child] = set(children(guest.pid))
    guest.kill()
    processes.wait_for(
        lambda: not pathlib.Path(f'/proc/{child}').exists(), 'the process has gone'
    )


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
