# SPDX-License-Identifier: Apache-2.0
"""Power with systemd's own logind, and with an agent whose machine goes down."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from devstack import stack
from guestagent import client

pytestmark = pytest.mark.functional

LOGIND = pathlib.Path('/lib/systemd/systemd-logind')

BUS = """<busconfig><type>system</type><listen>unix:path={socket}</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""

#: Starts a bus and logind where no other can be met: /run is empty there, and what
#: logind asks of systemd goes to the same bus, where there is none.
SERVERS = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 99
dbus-daemon --config-file="$1" --nofork >&2 & bus=$!
until [ -S "$2" ]; do kill -0 $bus || exit 98; sleep 0.02; done
"$3" >&2 & logind=$!
shift 3
"$@"; code=$?
kill $logind $bus
wait
exit $code
"""

#: What is asked of it; its answers are printed.
ASK = """
import json, pathlib, time
from guestagent import errors, testing
from guestagent_power import extension, logind
manager = logind.Logind(extension.Power.list_options()[0].default)
until = time.monotonic() + 60
while manager.can('PowerOff') is None:
    assert time.monotonic() < until, 'logind does not answer'
    time.sleep(0.02)
scheduled = pathlib.Path('/run/systemd/shutdown/scheduled')
def waits():
    return dict(line.split('=', 1) for line in scheduled.read_text().splitlines())
with testing.started(extension.Power) as made:
    call = lambda method, **arguments: testing.call(made, method, **arguments)
    said = {'can': manager.can('Suspend'), 'begun': time.time()}
    said['first'] = call('shutdown', mode='reboot', delay=5000, message='--help')
    said['waits'] = [waits()]
    said['second'] = call('shutdown', mode='halt', delay=9000)
    said['waits'].append(waits())
    said['busy'] = made.busy()
    said['cancelled'] = [call('cancel'), call('cancel')]
    said['left'] = scheduled.exists()
    try:
        call('suspend', kind='ram')
    except errors.GuestError as error:
        said['suspend'] = str(error)
print(json.dumps(said))
"""


@pytest.mark.skipif(
    os.geteuid() != 0
    or not LOGIND.exists()
    or None in map(shutil.which, ('unshare', 'dbus-daemon', 'busctl')),
    reason='needs root, systemd-logind, dbus-daemon and busctl',
)
def test_logind_schedules_and_cancels(tmp_path: pathlib.Path) -> None:
    socket, config = tmp_path / 'bus', tmp_path / 'bus.conf'
    config.write_text(BUS.format(socket=socket))
    done = subprocess.run(
        [
            *('unshare', '--mount', 'sh', '-c', SERVERS, 'sh'),
            *(config, socket, LOGIND, sys.executable, '-c', ASK),
        ],
        env={**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': f'unix:path={socket}'},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    for name, mode, delay in (('first', 'reboot', 5000), ('second', 'halt', 9000)):
        assert (said[name]['mode'], said[name]['by']) == (mode, 'logind')
        assert -1 <= said[name]['at'] - said['begun'] - delay < 100
    [first, second] = said['waits']
    assert (first['MODE'], first['WALL_MESSAGE']) == ('reboot', '--help')
    assert (second['MODE'], second.get('WALL_MESSAGE', '')) == ('halt', '')
    for waiting, answer in ((first, said['first']), (second, said['second'])):
        assert abs(int(waiting['USEC']) / 1e6 - answer['at']) < 5
    # What logind knows needs no process of the agent's to live.
    assert said['busy'] is False
    assert said['cancelled'] == [{'cancelled': True}, {'cancelled': False}]
    assert said['left'] is False
    if said['can'] == 'na':
        assert said['suspend'].startswith('this guest cannot be suspended to RAM: ')


@pytest.mark.parametrize('isolate', [False, True])
def test_the_outcome_is_known_before_the_machine_goes(
    agent: Callable[..., stack.Agent],
    bus_url: str,
    tmp_path: pathlib.Path,
    isolate: bool,
) -> None:
    """A machine that goes as hard as can be, and comes again."""
    programs = tmp_path / 'bin'
    programs.mkdir()
    ran = tmp_path / 'ran'
    options = {'power': {'path': programs, 'moment': 2, 'isolate': isolate}}
    if isolate:
        # It stays although it is idle, for it is what waits.
        options['power'] |= {'isolate_idle': 0.1}
    child = agent('vm-1', options, extensions='power')
    poweroff = programs / 'poweroff'
    poweroff.write_text(f'#!/bin/sh\necho gone >>{ran}\nkill -9 {child.pid}\n')
    poweroff.chmod(0o755)
    with client.Client(url=bus_url, caller='tester') as guests:

        def ask() -> Any:
            return guests.call('vm-1', 'power.shutdown', {}, command_id='down')

        first = ask()
        assert (first['mode'], first['by']) == ('poweroff', 'agent')
        child.wait_end()
        assert ran.read_text() == 'gone\n'

        agent('vm-1', options, extensions='power')
        assert ask() == first
        cancelled = guests.call('vm-1', 'power.cancel', {})
        assert cancelled == {'cancelled': False}
    assert ran.read_text() == 'gone\n'
