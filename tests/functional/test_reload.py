# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what may change while agent and conductor run."""

import os
import shutil
import signal

import pytest

from devstack import processes
from tests.functional import conftest, operating

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
    first = guest.wait_for(
        lambda: operating.metrics(port)[beats], 'the first heartbeat was sent'
    )

    assert not (tmp_path / 'marks').exists()

    text = guest.config.read_text().replace('= 3600', '= 0.2')
    guest.config.write_text(text.replace('[probe]', '[probe]\nperiod = 0.1'))
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_for(lambda: operating.metrics(port)[beats] >= first + 3, 'more are sent')
    guest.wait_for((tmp_path / 'marks').exists, 'the periodic method ran')


LATE = """
from oslo_config import cfg
from guestagent import extension


class Late(extension.Extension):
    options = (cfg.StrOpt('colour', default='red'), cfg.FloatOpt('period', default=0.1))
    ticks = 0

    @extension.command(mutates=False)
    def seen(self, context: extension.Context) -> list[object]:
        return [self.conf.colour, self.ticks > 0]

    @extension.periodic(spacing=60, option='period')
    def tick(self) -> None:
        self.ticks += 1
"""


def test_an_extension_that_is_installed_later_is_loaded_on_sighup(
    agent, conductor, stock_client, guestctl, tmp_path
):
    conductor()
    packages = tmp_path / 'packages'
    shutil.copytree(conftest.PROBE, packages)
    guest = agent(extensions='exec,late', packages=packages)
    guest.wait_line('extension late: no installed package has the entry point')
    before = guest.config.read_text()

    (packages / 'late.py').write_text(LATE)
    about = packages / 'late-1.0.dist-info'
    about.mkdir()
    (about / 'METADATA').write_text('Metadata-Version: 2.1\nName: late\nVersion: 1.0\n')
    (about / 'entry_points.txt').write_text(
        '[guestagent.extensions]\nlate = late:Late\nlost = nowhere:Lost\n'
    )
    guest.config.write_text(
        before.replace('exec,late', 'late,lost')
        + '[late]\ncolour = blue\nperiod = soon\n[lost]\na = 1\n'
    )
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line(
        'extension late: ConfigFileValueError: .* period from .* is not valid'
    )
    good = guest.config.read_text().replace('period = soon\n', '')
    guest.config.write_text(good)
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line('extension lost: cannot be loaded from nowhere:Lost')
    guest.wait_line('exec is enabled no more, but goes on until the end')
    guest.wait_line('loaded and started: late$')
    late = stock_client(guest.instance, namespace='late')
    processes.wait_for(
        lambda: late.call({}, 'seen') == ['blue', True], 'its periodic method ran'
    )
    processes.wait_for(
        lambda: (
            '"late"'
            in guestctl('instance', 'show', guest.instance, '-f', 'json').stdout
        ),
        'the conductor knows it',
    )
    assert guest.stop() == 0


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
