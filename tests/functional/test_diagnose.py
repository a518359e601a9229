# SPDX-License-Identifier: Apache-2.0
"""What a real agent says of itself to who looks for a fault, and when it hangs."""

import json
import os
import signal

import pytest

from devstack import processes
from tests.functional import conftest, operating

pytestmark = pytest.mark.functional

STUCK = '''
import pathlib, time

from guestagent import extension


class Stuck(extension.Extension):
    """Its health blocks, which it must not, once there is a file."""

    def health(self) -> str:
        while pathlib.Path({path!r}).exists():
            time.sleep(0.05)
        return 'ok'
'''


@pytest.fixture
def busy(agent, stock_client):
    """An agent with one worker, which is at work, and its port of metrics."""
    port = processes.free_port()
    guest = agent(
        extensions='probe',
        options={
            'metrics': {'listen': f'127.0.0.1:{port}'},
            'dispatcher': {'workers': 1},
            'reports': {'heartbeat_interval': 0.5, 'statistics_interval': 0.5},
            'DEFAULT': {'graceful_shutdown_timeout': 0},
        },
    )
    probe = stock_client(guest.instance, namespace='probe')
    assert probe.call({}, 'echo', value=1) == 1
    with pytest.raises(Exception, match=r'.'):
        probe.call({}, 'fail', kind='builtin')
    probe.cast({}, 'sleep', seconds=300)
    probe.cast({}, 'echo', value='correct horse')
    guest.wait_for(
        lambda: operating.metrics(port)['guestagent_requests_waiting'] == 1, 'one waits'
    )
    return guest, port


def test_guestctl_shows_what_a_busy_agent_is_at(busy, guestctl, conductor):
    guest, port = busy
    conductor()

    shown = guestctl('instance', 'diagnose', guest.instance)

    assert shown.returncode == 0, shown.stderr
    text = f'\n{shown.stdout}'
    for begin in (
        'agent 0.1.0 of ',
        'bus: amqp, connected',
        'commands: 1 run on 1 workers, 1 wait',
        'command probe.sleep of nobody: ',
        'extension probe: ok; 2 calls, 1 errors',
        'thread worker, at probe.sleep for ',
    ):
        assert f'\n{begin}' in text, begin
    assert 'Probe.sleep' in text
    assert 'correct horse' not in text
    raw = json.loads(
        guestctl('instance', 'diagnose', guest.instance, '-f', 'json').stdout
    )
    assert raw['pid'] == guest.pid
    found = operating.metrics(port)
    assert found['guestagent_extension_seconds_count{extension="probe"}'] == 2
    assert found['guestagent_extension_errors_total{extension="probe"}'] == 1
    assert found['guestagent_workers'] == 1
    assert found['guestagent_workers_hung'] == 0

    def facts():
        return guestctl('facts', guest.instance, 'agent.').stdout

    processes.wait_for(
        lambda: (found := facts()) and 'agent.memory_mib' in found and found,
        'its facts are there',
    )
    processes.wait_for(lambda: '"errors": 1' in facts(), 'the error is among them')


def test_sigusr2_writes_it_to_the_log(busy):
    guest, _ = busy

    os.kill(guest.pid, signal.SIGUSR2)
    guest.wait_for(lambda: 'thread worker, at probe.sleep' in guest.output(), 'it did')
    os.kill(guest.pid, signal.SIGUSR2)

    guest.wait_for(
        lambda: guest.output().count('command probe.sleep of nobody') == 2, 'again'
    )
    assert 'bus: amqp, connected' in guest.output()
    # Python's own, in the thread's words: it comes from the signal itself.
    assert 'in sleep' in guest.output()


def test_sigusr2_shows_where_the_loop_hangs(agent, tmp_path):
    packages, flag = tmp_path / 'packages', tmp_path / 'flag'
    about = packages / 'guestagent_stuck-1.0.dist-info'
    about.mkdir(parents=True)
    (packages / 'guestagent_stuck.py').write_text(STUCK.format(path=str(flag)))
    (about / 'METADATA').write_text('Name: guestagent-stuck\nVersion: 1.0\n')
    (about / 'entry_points.txt').write_text(
        '[guestagent.extensions]\nstuck = guestagent_stuck:Stuck\n'
    )
    guest = agent(
        extensions='stuck',
        packages=f'{conftest.PROBE}{os.pathsep}{packages}',
        options={'reports': {'heartbeat_interval': 0.2}},
    )
    flag.write_text('')

    def shown():
        os.kill(guest.pid, signal.SIGUSR2)
        return 'guestagent_stuck.py' in guest.output()

    guest.wait_for(shown, 'the stack shows where it is')
    flag.unlink()
    assert guest.stop() == 0
