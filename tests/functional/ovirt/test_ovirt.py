# SPDX-License-Identifier: Apache-2.0
"""A real agent on the oVirt channel, with a stand-in for VDSM at the other end."""

import os

import pytest

from tests.functional.ovirt import vdsm

pytestmark = pytest.mark.functional

QUICK = {
    'heart_beat_rate': 0.3,
    'report_user_rate': 0.5,
    'report_num_cpu_rate': 0.5,
    'report_disk_usage': 600,
}


@pytest.fixture
def ports(tmp_path):
    folder = tmp_path / 'ports'
    folder.mkdir()
    return folder


@pytest.fixture
def guest(agent, ports, tmp_path):
    """``guest(policy=...)``: an agent with the channel, in no hurry to be connected."""

    def start(**options):
        return agent(
            extensions='exec,monitoring,probe',
            options={
                'DEFAULT': {'enabled_channels': 'ovirt'},
                'ovirt': {'device_prefix': f'{ports}/', 'hooks': tmp_path, **QUICK},
                **options,
            },
        )

    return start


def hook(tmp_path, event, name, text):
    folder = tmp_path / event
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask
    path = folder / name
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize('version', [0, 3])
def test_a_host_gets_what_its_version_knows(guest, ports, version):
    host = vdsm.Vdsm(ports, version)
    child = guest()
    host.connect()

    host.wait('heartbeat', where=lambda said: said['apiVersion'] == 3)
    fqdn = host.wait('fqdn')['fqdn']
    assert host.wait('host-name') == {'name': fqdn}
    assert host.wait('os-version') == {'version': os.uname().release}
    assert int(host.wait('heartbeat')['free-ram']) > 0
    assert {'path', 'fs', 'total', 'used'} == set(host.wait('disks-usage')['disks'][0])
    assert host.wait('applications')['applications']
    host.send('echo', text='a\x00b')
    assert host.wait('echo') == {'text': 'a\ufffdb'}
    if version == 3:
        assert host.wait('number-of-cpus') == {'count': os.cpu_count()}
        assert host.wait('os-info')['type'] == 'linux'
        assert isinstance(host.wait('timezone')['offset'], int)
    else:
        before = len(host.said)
        host.wait('heartbeat', before + 5)
        names = {name for name, _ in host.said}
        assert not names & {'number-of-cpus', 'os-info', 'timezone', 'containers'}
    assert child.stop() == 0
    host.wait('session-shutdown')
    host.close()


def test_hooks_bad_lines_and_a_host_that_goes(guest, ports, tmp_path):
    hook(tmp_path, 'before_migration', '10_mark', f'echo ran >>{tmp_path}/marks')
    hook(tmp_path, 'after_migration', '10_bad', 'echo no space >&2; exit 1')
    host = vdsm.Vdsm(ports)
    child = guest()
    host.connect()
    host.wait('number-of-cpus')  # the versions are agreed on

    host.send('lifecycle-event', type='before_migration', reply_id='one')
    assert host.wait('completion') == {'reply_id': 'one', 'done': True}
    assert (tmp_path / 'marks').read_text() == 'ran\n'
    before = len(host.said)
    host.send('lifecycle-event', type='after_migration', reply_id='two', failure=True)
    assert host.wait('completion', before) == {'reply_id': 'two', 'done': False}
    child.wait_line('10_bad failed: exit code 1: no space')
    before = len(host.said)
    hook(tmp_path, 'before_hibernation', '10_open', 'exit 0').chmod(0o777)
    host.send('lifecycle-event', type='before_hibernation', reply_id='three')
    assert host.wait('completion', before) == {'reply_id': 'three', 'done': False}
    child.wait_line('hook .*/10_open could be changed by others: it is not run')

    host.write(b'x' * (vdsm.lines.LINE_MAX + 10))
    host.write(b'\ngarbage\n[]\n{"__name__": 3}\n')
    host.send('shutdown', message='at once?')
    host.send('lock-screen')
    child.wait_line('longer than 1048576 bytes')
    child.wait_line('the host asks in vain: shutdown: timeout is None')
    child.wait_line("lock-screen, which the host wants, failed: .* 'sso' is not loaded")
    before = len(host.said)
    host.wait('heartbeat', before)

    host.write(b'{"__name__": "shutdo')
    host.close()
    (ports / 'ovirt-guest-agent.0').unlink()
    other = vdsm.Vdsm(ports, name='com.redhat.rhevm.vdsm')
    other.connect()
    other.wait('disks-usage')
    assert child.stop() == 0
    other.close()


def test_the_policy_holds_for_the_host_too(guest, ports, tmp_path):
    hook(tmp_path, 'before_migration', '10_mark', f'echo ran >>{tmp_path}/marks')
    policy = tmp_path / 'policy'
    policy.write_text('[rule reads]\ncallers = ovirt\ncommands = monitoring.*\n')
    host = vdsm.Vdsm(ports)
    child = guest(policy={'file': policy})
    host.connect()
    host.wait('number-of-cpus')

    host.send('lifecycle-event', type='before_migration', reply_id='one')

    assert host.wait('completion') == {'reply_id': 'one', 'done': False}
    child.wait_line('10_mark failed: .*may not use exec.run')
    assert not (tmp_path / 'marks').exists()
    host.close()
