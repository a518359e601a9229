# SPDX-License-Identifier: Apache-2.0
"""The packaged agent in a real guest, and its hosts: ``make guest``.

The tests run in this order, and the last one ends the guest.
"""

import base64
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from devstack import processes
from tests.functional.ovirt import vdsm
from tests.guest import conftest, machine

pytestmark = [pytest.mark.functional, pytest.mark.slow, pytest.mark.timeout(600)]

MAIN_PID = 'systemctl show --property=MainPID --value guestagent'
#: Writes to the root file system for good, each line to the disk.
WRITER = 'while date +%s >>/var/tmp/written; do sync /var/tmp/written; done'
GROUP = '/sys/fs/cgroup/system.slice/guestagent.service'
PASSWORD = 'hunter2-frühling'


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_the_agent_has_the_ports_and_is_not_root(guest: conftest.Guest) -> None:
    owners = guest.shell('cd /dev/virtio-ports; stat -L -c "%n %U:%G %a" *')
    assert owners.splitlines() == [
        'hub.0 root:root 600',
        'org.qemu.guest_agent.0 root:guestagent 660',
        'ovirt-guest-agent.0 root:guestagent 660',
    ]
    held = guest.shell(f'cd /proc/$({MAIN_PID}); readlink fd/*; grep ^Uid status')
    ports = guest.shell('cd /dev/virtio-ports; readlink -f [!h]*')
    assert set(ports.split()) <= set(held.splitlines())
    uid = guest.shell('id -u guestagent').strip()
    assert held.splitlines()[-1].split() == ['Uid:', *[uid] * 4]
    assert guest.shell('systemctl is-system-running') == 'running\n'


def test_a_stock_client_runs_a_program_through_the_hub(
    guest: conftest.Guest, stock: Callable[..., Any]
) -> None:
    done = stock('exec.run', argv=['hostname'])
    assert done['exit_code'] == 0
    assert done['stdout'] == guest.ask('guest-get-host-name')['host-name'] + '\n'


def test_what_the_guest_is(guest: conftest.Guest) -> None:
    info = guest.ask('guest-info')
    disabled = {
        each['name'] for each in info['supported_commands'] if not each['enabled']
    }
    assert disabled == set()
    system = guest.ask('guest-get-osinfo')
    assert (system['id'], system['machine']) == ('debian', 'x86_64')
    assert system['kernel-release'].endswith('cloud-amd64')
    [root] = guest.ask('guest-get-fsinfo')
    assert (root['mountpoint'], root['type'], root['name']) == ('/', 'ext4', 'vda')
    assert root['disk'][0]['bus-type'] == 'virtio'
    assert [each['logical-id'] for each in guest.ask('guest-get-vcpus')] == [0]
    assert guest.ask('guest-get-memory-block-info')['size'] > 0
    assert {each['name'] for each in guest.ask('guest-network-get-interfaces')} == {
        'lo'
    }


def test_files_and_programs(guest: conftest.Guest) -> None:
    text = 'fünf\n' * 20000
    handle = guest.ask('guest-file-open', path='/root/file', mode='w+')
    done = guest.ask('guest-file-write', handle=handle, buf_b64=encoded(text))
    assert done == {'count': len(text.encode()), 'eof': False}
    guest.ask('guest-file-flush', handle=handle)
    guest.ask('guest-file-seek', handle=handle, offset=0, whence='set')
    read = guest.ask('guest-file-read', handle=handle, count=1 << 20)
    assert base64.b64decode(read['buf-b64']).decode() == text
    guest.ask('guest-file-close', handle=handle)
    assert guest.shell('wc -c </root/file').strip() == str(len(text.encode()))
    assert guest.shell('id -un; cat', 'said') == 'root\nsaid'


def test_the_hosts_end_closes_at_any_byte(guest: conftest.Guest) -> None:
    request = b'{"execute": "guest-get-host-name", "id": 7}\n'
    name = guest.ask('guest-get-host-name')
    for end in range(len(request) + 1):
        guest.client.send(request[:end])
        guest.connect()
        # Neither half a request nor an answer to another one is left.
        assert guest.ask('guest-get-host-name') == name, end


def test_an_answer_that_nobody_has_read(guest: conftest.Guest) -> None:
    for _ in range(5):
        # Much more than a queue of the port holds.
        request = {'execute': 'guest-file-open', 'arguments': {'path': '/root/file'}}
        guest.client.send(json.dumps(request).encode() + b'\n')
        handle = json.loads(guest.client.line())['return']
        request = {
            'execute': 'guest-file-read',
            'arguments': {'handle': handle, 'count': 100000},
        }
        guest.client.send(json.dumps(request).encode() + b'\n')
        guest.connect()
        assert guest.ask('guest-ping') == {}


def test_vdsm_is_told(guest: conftest.Guest) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(guest.machine.ovirt))
        host = vdsm.Host(end.detach())
    host.connect()
    host.wait('number-of-cpus', where=lambda said: said == {'count': 1})
    assert host.wait('host-name')['name']
    assert host.wait('os-version')['version'].endswith('cloud-amd64')
    assert [disk['path'] for disk in host.wait('disks-usage')['disks']] == ['/']
    names = host.wait('applications')['applications']
    assert any(name.startswith('guestagent-ovirt') for name in names)
    assert int(host.wait('heartbeat')['free-ram']) > 0
    # It goes within a line, and another one comes.
    host.write(b'{"__name__": "shutdo')
    host.close()
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(guest.machine.ovirt))
        host = vdsm.Host(end.detach())
    host.connect()
    host.wait('os-info')
    guest.shell('mkdir -p /etc/ovirt-guest-agent/hooks.d/before_migration')
    guest.shell(
        'cd /etc/ovirt-guest-agent/hooks.d/before_migration;'
        'printf "#!/bin/sh\\nid -un >/root/migrates" >10_mark; chmod +x 10_mark'
    )
    host.send('lifecycle-event', type='before_migration', reply_id='one')
    assert host.wait('completion') == {'reply_id': 'one', 'done': True}
    assert guest.shell('cat /root/migrates') == 'root\n'
    host.close()


def test_the_time_is_set(guest: conftest.Guest) -> None:
    wanted = time.time_ns() + 3600 * 10**9
    guest.ask('guest-set-time', time=wanted)
    assert 0 <= guest.ask('guest-get-time') - wanted < 60 * 10**9
    assert 0 <= int(guest.shell('date +%s')) - wanted // 10**9 < 60
    guest.ask('guest-set-time', time=time.time_ns())
    assert abs(guest.ask('guest-get-time') - time.time_ns()) < 60 * 10**9


def test_a_password_is_set(guest: conftest.Guest) -> None:
    guest.shell('useradd --create-home alice')
    guest.ask(
        'guest-set-user-password',
        username='alice',
        password=encoded(PASSWORD),
        crypted=False,
    )
    # PAM's own helper reads the password with a NUL at its end.
    check = 'unix_chkpwd alice nullok'
    guest.shell(check, f'{PASSWORD}\0')
    with pytest.raises(processes.Failed):
        guest.shell(check, 'another\0')
    found = guest.shell(
        # What is looked for is recorded, too, with the brackets.
        'journalctl --no-pager | grep -c "hunter[2]" || true;'
        'grep -rl "hunter[2]" /var/lib/guestagent /run/guestagent || true'
    )
    assert found == '0\n'


def count(stock: Callable[..., Any]) -> int:
    """Return how many lines the writer has written, though the disk may be frozen."""
    return int(
        stock('exec.run', argv=['wc', '-l', '/var/tmp/written'])['stdout'].split()[0]
    )


def test_a_freeze_of_the_root(guest: conftest.Guest, stock: Callable[..., Any]) -> None:
    guest.shell(f'systemd-run --unit=writer sh -c "{WRITER}"')
    processes.wait_for(lambda: count(stock) > 3, 'the writer writes', machine.LONG)

    assert guest.ask('guest-fsfreeze-freeze') == 1
    assert guest.ask('guest-fsfreeze-status') == 'frozen'
    before = count(stock)
    refused = guest.client.ask('guest-exec', path='/bin/true')
    assert 'error' in refused
    assert guest.ask('guest-ping') == {}
    assert count(stock) == before
    assert guest.ask('guest-fsfreeze-thaw') == 1

    assert guest.ask('guest-fsfreeze-status') == 'thawed'
    processes.wait_for(lambda: count(stock) > before + 3, 'it goes on', machine.LONG)
    guest.shell('systemctl is-active guestagent')
    trimmed = guest.ask('guest-fstrim')
    assert [each['path'] for each in trimmed['paths']] == ['/']


def test_the_dead_mans_thaw(guest: conftest.Guest, stock: Callable[..., Any]) -> None:
    pid = guest.shell(MAIN_PID)
    begun = time.monotonic()
    assert guest.ask('guest-fsfreeze-freeze') == 1
    stopped = count(stock)
    # All of the unit dies, while its state is on the frozen disk.
    stock('exec.spawn', argv=['sh', '-c', f'sleep 1; echo 1 >{GROUP}/cgroup.kill'])
    # systemd, too, may wait for the thaw before it starts the next agent.
    guest.hub.wait_line('vm-1 has gone: another agent', machine.LONG)
    guest.connect()

    processes.wait_for(
        lambda: guest.ask('guest-fsfreeze-status') == 'thawed', 'it thaws', machine.LONG
    )
    assert time.monotonic() - begun >= machine.FREEZE_LIMIT
    processes.wait_for(lambda: count(stock) > stopped, 'it goes on', machine.LONG)
    assert guest.shell(MAIN_PID) != pid
    log = guest.shell('journalctl --no-pager --boot --unit guestagent')
    assert 'Main process exited, code=killed, status=9/KILL' in log
    guest.shell('systemctl stop writer')
    assert guest.shell('systemctl is-system-running') == 'running\n'


def test_it_is_switched_off(guest: conftest.Guest) -> None:
    guest.client.send(b'{"execute": "guest-shutdown"}\n')
    assert guest.machine.wait_end(machine.LONG) == 0
    assert 'Power down' in guest.machine.output()
