# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what may change while agent and conductor run."""

import os
import signal

import pytest

from devstack import processes
from tests.functional import operating

pytestmark = pytest.mark.functional


def test_sighup_takes_what_may_change_and_names_the_rest(tmp_path, monkeypatch, agent):
    operating.Manager(tmp_path, monkeypatch, seconds=0.5)
    port = processes.free_port()
    options = {
        'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'},
        'metrics': {'listen': f'127.0.0.1:{port}'},
        'monitoring': {'period': 3600},
    }
    guest = agent(instance='vm', wait=False, options=options)
    guest.wait_line('guest agent for instance vm')
    before = guest.config.read_text()

    guest.config.write_text(
        before.replace('heartbeat_interval = 1', 'heartbeat_interval = 77')
        .replace('period = 3600', 'period = 55')
        .replace('[DEFAULT]', '[DEFAULT]\ndebug = true')
        + '[dispatcher]\nworkers = 3\n'
    )
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line(
        r'read again; changed: \[DEFAULT\] debug, \[reports\] heartbeat_interval, '
        r'\[monitoring\] period$'
    )
    guest.wait_line(r'a restart is needed for it: \[dispatcher\] workers$')
    guest.wait_line('DEBUG guestagent.agent.supervision the watchdog is fed')

    guest.config.write_text(before.replace('= 3600', '= soon'))
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line(r'stays as it was: .*agent-vm.conf: \[monitoring\] period: could')
    assert operating.ask(port, '/healthz')[0] == 503
    assert guest.stop() == 0


def test_sighup_changes_how_often_the_heart_beats_and_periods(
    agent, conductor, tmp_path
):
    conductor()
    port = processes.free_port()
    guest = agent(
        extensions='probe',
        options={
            'metrics': {'listen': f'127.0.0.1:{port}'},
            'reports': {'heartbeat_interval': 3600},
        },
    )
    beats = 'guestagent_reports_sent_total{kind="heartbeat"}'
    guest.wait_for(
        lambda: operating.metrics(port)[beats] == 1, 'the first heartbeat was sent'
    )

    assert not (tmp_path / 'marks').exists()

    text = guest.config.read_text().replace('= 3600', '= 0.2')
    guest.config.write_text(text.replace('[probe]', '[probe]\nperiod = 0.1'))
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_for(lambda: operating.metrics(port)[beats] >= 4, 'more are sent')
    guest.wait_for((tmp_path / 'marks').exists, 'the periodic method ran')


def test_sighup_reloads_the_conductor(conductor):
    child = conductor(wait=False)
    child.wait_line('the conductor has started')
    text = child.config.read_text().replace(
        'sweep_interval = 0.5', 'sweep_interval = 9'
    )
    child.config.write_text(f'{text}batch_size = 77\n')

    os.kill(child.pid, signal.SIGHUP)

    child.wait_line(r'read again; changed: \[conductor\] sweep_interval$')
    child.wait_line(r'a restart is needed for it: \[conductor\] batch_size$')
    assert child.stop() == 0
