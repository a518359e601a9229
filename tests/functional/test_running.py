# SPDX-License-Identifier: Apache-2.0
"""Agent and conductor under systemd: their units, and what they tell it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from devstack import stack
from tests.functional import operating

pytestmark = pytest.mark.functional

UNITS = pathlib.Path(__file__).resolve().parents[2] / 'etc/guestagent/systemd'


def test_the_agent_tells_systemd_how_it_is(tmp_path, monkeypatch, agent):
    manager = operating.Manager(tmp_path, monkeypatch, seconds=0.2)
    guest = agent(
        wait=False, options={'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'}}
    )

    manager.wait(guest, 'WATCHDOG=1', times=3)

    assert manager.heard[0] == 'READY=1'
    assert manager.heard[1] == (
        f'STATUS=instance {guest.instance}; bus: not connected, trying again'
    )
    os.kill(guest.pid, signal.SIGHUP)
    manager.wait(guest, 'RELOADING=1\nMONOTONIC_USEC=')
    manager.wait(guest, 'READY=1', times=2)
    assert manager.stop(guest) == 0
    assert manager.heard[-1] == 'STOPPING=1'


def test_the_agents_status_line_says_when_the_bus_is_there(
    tmp_path, monkeypatch, agent
):
    manager = operating.Manager(tmp_path, monkeypatch)
    guest = agent(extensions='exec')

    manager.wait(guest, f'STATUS=instance {guest.instance}; bus: connected')


def test_the_conductor_tells_systemd_how_it_is(tmp_path, monkeypatch, conductor):
    manager = operating.Manager(tmp_path, monkeypatch, seconds=0.4)
    child = conductor()

    manager.wait(child, 'STATUS=taking reports')
    manager.wait(child, 'WATCHDOG=1', times=2)

    assert manager.heard[0] == 'READY=1'
    os.kill(child.pid, signal.SIGHUP)
    manager.wait(child, 'RELOADING=1\nMONOTONIC_USEC=')
    manager.wait(child, 'READY=1', times=2)
    assert manager.stop(child) == 0
    assert manager.heard[-1] == 'STOPPING=1'


needs_systemd = pytest.mark.skipif(
    shutil.which('systemd-analyze') is None,
    reason='systemd-analyze is not installed (Debian: systemd)',
)


def made_unit(name, folder):
    """Return a copy of a unit that runs this environment's programs."""
    text = (UNITS / name).read_text()
    path = folder / name
    path.write_text(text.replace('=/usr/bin/', f'={stack.script("")}/'))
    return path


@needs_systemd
@pytest.mark.parametrize('name', sorted(path.name for path in UNITS.glob('*.service')))
def test_the_units_are_understood(name, tmp_path):
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', made_unit(name, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, '')


@needs_systemd
@pytest.mark.parametrize('name', ['guestagent-conductor', 'guestagent-hub'])
def test_these_units_are_hardened(name, tmp_path):
    unit = made_unit(f'{name}.service', tmp_path)
    done = subprocess.run(
        ['systemd-analyze', 'security', '--offline=yes', '--threshold=15', unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agents_unit_has_no_namespace_and_no_limit_that_a_command_inherits():
    set_ = dict(
        line.split('=', 1)
        for line in (UNITS / 'guestagent.service').read_text().splitlines()
        if '=' in line and not line.startswith('#')
    )

    assert set_['PrivateMounts'] == 'no'
    allowed = {'PrivateMounts', 'KeyringMode'}
    confining = re.compile(
        'Private|Protect|Restrict|ReadOnly|ReadWrite|Inaccessible|Bind|Temporary|'
        'SystemCall|Capability|NoNewPriv|RootDir|RootImage|DynamicUser|MemoryDeny|'
        'Lock|DeviceAllow|DevicePolicy|IPAddress|MemoryMax|CPUQuota|TasksMax|User'
    )
    assert {name for name in set_ if confining.match(name)} <= allowed
    assert (set_['Type'], set_['Restart']) == ('notify', 'always')
