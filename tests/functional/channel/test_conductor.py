# SPDX-License-Identifier: Apache-2.0
"""Agent, conductor and guestctl on one machine, with no broker."""

import contextlib
import json
import os

import pytest

from devstack import processes, stack
from tests.functional import hubs

pytestmark = pytest.mark.functional


@pytest.fixture
def agent(hub, tmp_path, children):
    made = stack.Agent(tmp_path, hub.url, 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def start_conductor(hub, tmp_path, children):
    def start():
        made = stack.Conductor(tmp_path, hub.url)
        children.append(made)
        made.wait_line('taking reports from ')
        return made

    return start


@pytest.fixture
def everything(hub, agent, start_conductor):
    """The hub, when the conductor knows of its guest."""
    start_conductor()
    wait_until_it_is_known(hub)
    return hub


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """The same, for tests that only look."""
    folder = tmp_path_factory.mktemp('shared')
    with contextlib.ExitStack() as stopping:
        hub = hubs.Hub(folder, '--guest', 'vm-1')
        stopping.callback(hub.stop)
        agent = stack.Agent(folder, hub.url, 'vm-1')
        stopping.callback(agent.stop)
        conductor = stack.Conductor(folder, hub.url)
        stopping.callback(conductor.stop)
        wait_until_it_is_known(hub)
        yield hub


def wait_until_it_is_known(hub):
    processes.wait_for(lambda: is_up(hub), 'the guest is UP', 60)
    facts = ('facts', 'vm-1', '-f', 'json')
    processes.wait_for(
        lambda: json.loads(stack.guestctl(hub.url, *facts).stdout or '[]'),
        'the guest has reported facts',
        60,
    )


def is_up(hub):
    done = stack.guestctl(hub.url, 'instance', 'show', 'vm-1', '-f', 'json')
    if done.returncode:
        return None
    shown = json.loads(done.stdout)
    return shown if shown['state'] == 'UP' else None


def test_guestctl_asks_the_guest_and_the_conductor(hub, agent, start_conductor):
    conductor = start_conductor()
    done = stack.guestctl(hub.url, 'exec', 'vm-1', '--', 'echo', 'hello')
    assert (done.returncode, done.stdout) == (0, 'hello\n'), done.stderr
    processes.wait_for(lambda: is_up(hub), 'the guest is UP', 60)

    assert conductor.stop() == 0
    assert 'Traceback' not in conductor.output()


@pytest.mark.parametrize(
    'command',
    [
        ['instance', 'list'],
        ['extension', 'list', 'vm-1'],
        ['extension', 'show', 'vm-1', 'exec'],
        ['ping', 'vm-1'],
        ['call', 'vm-1', 'exec.run', 'argv=["true"]'],
        ['cast', 'vm-1', 'exec.run', 'argv=["true"]', '--wait'],
        ['command', 'list', 'vm-1'],
        ['events'],
        ['facts', 'vm-1'],
    ],
    ids=' '.join,
)
def test_each_command_of_guestctl(shared, command):
    done = stack.guestctl(shared.url, *command)
    assert (done.returncode, done.stderr) == (0, '')


def test_guestctl_follows_and_watches(everything, agent, tmp_path, children):
    following = processes.Process(
        'guestctl',
        [stack.script('guestctl'), 'events', '--follow', '-f', 'json'],
        tmp_path / 'follow.log',
        env={**os.environ, stack.URL_VARIABLE: everything.url},
    )
    children.append(following)
    cast = ('cast', 'vm-1', 'exec.run', 'argv=["sleep", "2"]', '-f', 'json')
    sent = json.loads(stack.guestctl(everything.url, *cast).stdout)
    watch = ('command', 'watch', 'vm-1', sent['command_id'], '-f', 'json')
    watched = stack.guestctl(everything.url, *watch)
    assert watched.returncode == 0, watched.stderr
    assert json.loads(watched.stdout)['outcome'] == 'done'

    agent.kill()

    following.wait_line('instance.down', 60)


def test_a_guest_that_nobody_knows(hub):
    done = stack.guestctl(hub.url, 'ping', 'vm-2')
    assert done.returncode
    assert 'vm-2' in done.stderr
    assert not hub.guest_socket('vm-2').exists()


def test_all_come_back_when_the_hub_does(
    hub, agent, start_conductor, tmp_path, children
):
    conductor = start_conductor()
    processes.wait_for(lambda: is_up(hub), 'the guest is UP', 60)
    before = len(conductor.output())
    hub.kill()
    children.append(hubs.Hub(tmp_path))
    conductor.wait_for(
        lambda: 'taking reports from ' in conductor.output()[before:],
        'it takes reports again',
        60,
    )
    done = stack.guestctl(hub.url, 'exec', 'vm-1', '--', 'echo', 'hello')
    assert (done.returncode, done.stdout) == (0, 'hello\n'), done.stderr
    processes.wait_for(lambda: is_up(hub), 'the guest is UP again', 60)
