# SPDX-License-Identifier: Apache-2.0
"""Services as systemctl tells them, ports as the kernel does, and the machine."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest
from guestagent_monitoring import programs
from guestagent_monitoring.collectors import listeners, machine, services

from devstack import processes

UNITS = """\
cron.service              loaded active running Regular background program daemon
user@0.service            loaded active running User Manager for UID 0
session-1.scope           loaded active running Session 1 of User root
dbus.socket               loaded active running D-Bus System Message Bus Socket
backup.service            loaded failed failed  Backup
data.mount                loaded failed failed  /data
gone.service              not-found failed failed gone.service

"""


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    def stand_in(script):
        program = tmp_path / 'bin' / 'systemctl'
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')

    return stand_in


def test_services_that_run_and_units_that_failed(tree, systemctl):
    systemctl(f"cat <<'END'\n{UNITS}END")

    assert services.services(tree({'run/systemd/system/x': ''})) == {
        'running': ['cron', 'user@0'],
        'failed': ['backup.service', 'data.mount', 'gone.service'],
    }


def test_a_guest_without_systemd(tree, systemctl):
    systemctl('exit 1')

    assert services.services(tree({'run/systemd/sessions/x': ''})) is None


def test_a_systemd_that_does_not_answer(tree, systemctl, monkeypatch):
    systemctl('echo "Failed to list units: no bus" >&2; exit 1')

    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    with pytest.raises(OSError, match=r'systemctl has failed \(1\): .*no bus'):
        services.services(tree({'run/systemd/system/x': ''}))


def test_without_a_bus_the_control_groups_tell(tree, systemctl, monkeypatch):
    systemctl('echo "Failed to connect to bus" >&2; exit 1')
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    slice_ = 'sys/fs/cgroup/system.slice'
    root = tree(
        {
            'run/systemd/system/x': '',
            f'{slice_}/cgroup.events': 'populated 1\nfrozen 0\n',
            f'{slice_}/cron.service/cgroup.events': 'populated 1\nfrozen 0\n',
            f'{slice_}/ended.service/cgroup.events': 'populated 0\nfrozen 0\n',
            f'{slice_}/system-getty.slice/getty@tty1.service/cgroup.procs': '17\n',
            f'{slice_}/udev.service/inner.service/cgroup.events': 'populated 1\n',
            f'{slice_}/udev.service/cgroup.procs': '',
        }
    )

    assert services.services(root) == {
        'running': ['cron', 'getty@tty1'],
        'failed': None,
    }


def test_a_program_is_bounded_and_its_words_are_not_translated(monkeypatch):
    monkeypatch.setenv('LC_ALL', 'de_AT.UTF-8')
    script = 'import os; print(os.environ["LC_ALL"], os.nice(0) > 0)'
    assert programs.ask([sys.executable, '-c', script], 60) == 'C.UTF-8 True\n'
    assert programs.ask(['sh', '-c', 'echo no; exit 100'], 60, (0, 100)) == 'no\n'
    with pytest.raises(OSError, match=r'sh has failed \(3\): it says nothing'):
        programs.ask(['sh', '-c', 'exit 3'], 60)
    with pytest.raises(TimeoutError, match=r'sleep has not ended within 0\.2 seconds'):
        programs.ask(['sleep', '600'], 0.2)


def test_a_program_that_says_too_much_is_ended():
    with pytest.raises(ValueError, match='yes says more than 1000 bytes'):
        programs.ask(['yes'], 60, size_max=1000)
    # Much trouble is no trouble, and its end is what is told of it.
    script = 'yes 123456789 | head -c 1000000 >&2; echo last >&2; exit 1'
    with pytest.raises(OSError, match=r'sh has failed \(1\): last'):
        programs.ask(['sh', '-c', script], 60)


def test_what_a_program_has_started_ends_with_it(tmp_path):
    lives = tmp_path / 'lives'
    script = f'echo $$ > {lives}; echo said; sleep 600 & exec 1>&-; echo $! >> {lives}'

    with pytest.raises(TimeoutError):
        programs.ask(['sh', '-c', script], 2)

    stat = pathlib.Path(f'/proc/{lives.read_text().split()[1]}/stat')

    def has_ended():
        try:
            return stat.read_text().split()[2] == 'Z'
        except (FileNotFoundError, ProcessLookupError):
            return True

    processes.wait_for(has_ended, 'it has ended')


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101 0 71 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 0 72 1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 0 73 1
   3: 0100007F:6298 0100007F:E60C 01 00000000:00000000 03:00000290 00000000     0 0 0 3
   4: 0100007F:0001 00000000:0000 0A after what is connected nothing is read
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000     0        0 74 1
"""
UDP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   102 0 75 2
   1: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 0 76 2
   2: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0 0 77 2
"""


@pytest.mark.skipif(sys.byteorder != 'little', reason='the sample is of such a machine')
def test_ports_of_a_sample(tree):
    root = tree(
        {
            'proc/net/tcp': TCP,
            'proc/net/tcp6': TCP6,
            'proc/net/udp': UDP,
            'proc/30/comm': 'postgres\n',
            'proc/30/fd/4': pathlib.Path('socket:[71]'),
            'proc/4/comm': 'sshd\n',
            'proc/4/fd/3': pathlib.Path('socket:[72]'),
            'proc/4/fd/5': pathlib.Path('socket:[73]'),
            'proc/31/comm': 'child\n',
            'proc/31/fd/3': pathlib.Path('socket:[72]'),
            'proc/31/fd/0': pathlib.Path('/dev/null'),
            'proc/self/comm': 'no\n',
        }
    )
    tell = listeners.Listeners()

    rows = [tuple(each.values()) for each in tell(root)]
    assert rows == [
        ('tcp', '0.0.0.0', 22, 'sshd', 0),
        ('tcp', '::1', 631, None, 0),
        ('tcp', '127.0.0.1', 5432, 'postgres', 101),
        ('udp', '127.0.0.53', 53, None, 102),
    ]
    # One that is still there is no client's.
    again = [tuple(each.values()) for each in tell(root)]
    assert again == [*rows, ('udp', '0.0.0.0', 51820, None, 0)]


def test_processes_are_looked_for_only_when_there_is_a_new_socket(tree, monkeypatch):
    root = tree({'proc/net/tcp': ''.join(TCP.splitlines(True)[:2])})
    looks = []
    monkeypatch.setattr(
        listeners, '_owners', lambda root, wanted: looks.append(wanted) or {}
    )
    tell = listeners.Listeners()

    for _ in range(3):
        assert [each['port'] for each in tell(root)] == [5432]
    assert looks == [{71}]
    tree({'proc/net/tcp': TCP})
    tell(root)
    assert looks == [{71}, {71, 72, 73}]


def test_the_real_ports():
    local = '::1' if os.path.exists('/proc/net/tcp6') else '127.0.0.1'
    family = socket.AF_INET6 if ':' in local else socket.AF_INET
    with (
        socket.create_server(('127.0.0.1', 0)) as server,
        socket.create_server((local, 0), family=family) as server6,
        socket.create_server(('127.0.0.1', 0)) as busy,
        socket.create_connection(busy.getsockname()),
    ):
        found = listeners.Listeners()()

        mine = pathlib.Path('/proc/self/comm').read_text().strip()
        for each in (server, server6, busy):
            address, port = each.getsockname()[:2]
            assert {
                'protocol': 'tcp',
                'address': address,
                'port': port,
                'process': mine,
                'uid': os.getuid(),
            } in found


MODULES = 'lib/modules'


@pytest.mark.parametrize(
    ('files', 'wanted'),
    [
        ({'sys/class/dmi/id/sys_vendor': 'QEMU', 'clocks': 'tsc kvm-clock'}, 'kvm'),
        ({'sys/class/dmi/id/sys_vendor': 'QEMU', 'clocks': 'tsc hpet'}, 'qemu'),
        ({'clocks': 'tsc kvm-clock'}, 'kvm'),
        (
            {
                'sys/class/dmi/id/sys_vendor': 'Microsoft Corporation',
                'sys/class/dmi/id/product_name': 'Virtual Machine',
            },
            'microsoft',
        ),
        (
            {
                'sys/class/dmi/id/sys_vendor': 'Microsoft Corporation',
                'sys/class/dmi/id/product_name': 'Surface',
                'proc/cpuinfo': 'flags\t\t: fpu vme\n',
            },
            None,
        ),
        ({'sys/class/dmi/id/product_name': 'VMware7,1', 'clocks': 'tsc'}, 'vmware'),
        ({'sys/class/dmi/id/bios_vendor': 'innotek GmbH'}, 'oracle'),
        (
            {'sys/class/dmi/id/sys_vendor': 'Amazon EC2', 'clocks': 'kvm-clock'},
            'amazon',
        ),
        ({'sys/hypervisor/type': 'xen'}, 'xen'),
        ({'proc/device-tree/hypervisor/compatible': 'linux,kvm\0'}, 'kvm'),
        ({'proc/sysinfo': 'VM00 Control Program: KVM/Linux\n'}, 'kvm'),
        ({'proc/cpuinfo': 'processor: 0\nflags\t\t: fpu hypervisor lm\n'}, 'unknown'),
        ({'sys/class/dmi/id/sys_vendor': 'Dell Inc.'}, None),
    ],
)
def test_hypervisors(tree, files, wanted):
    clocks = files.pop('clocks', None)
    if clocks is not None:
        files[machine._CLOCK] = clocks
    root = tree({'proc/sys/kernel/osrelease': '6.1.0-9-amd64\n', **files})

    found = machine.virtualization(root)

    assert found['type'] == wanted
    assert found['container'] is None
    assert found['vendor'] == files.get('sys/class/dmi/id/sys_vendor')


@pytest.mark.parametrize(
    ('files', 'wanted'),
    [
        ({'run/systemd/container': 'lxc\n'}, 'lxc'),
        ({'proc/1/environ': 'PATH=/bin\0container=systemd-nspawn\0'}, 'systemd-nspawn'),
        ({'proc/1/environ': 'container=\0', '.dockerenv': ''}, 'docker'),
        ({'run/.containerenv': ''}, 'podman'),
        ({'proc/sys/kernel/osrelease': '5.15-microsoft-standard-WSL2'}, 'wsl'),
    ],
)
def test_containers_that_confine_the_agent(tree, files, wanted):
    root = tree({'proc/sys/kernel/osrelease': '6.1.0', **files})

    assert machine.virtualization(root)['container'] == wanted


KERNEL = {
    'proc/sys/kernel/osrelease': '6.1.0-9-amd64\n',
    'proc/stat': 'btime 1000\n',
    'proc/modules': 'ext4 1 0 - Live 0x0\n',
    f'{MODULES}/6.1.0-9-amd64/modules.dep': '',
}


@pytest.mark.parametrize(
    ('files', 'wanted'),
    [
        ({}, (False, [], None)),
        (
            {
                'run/reboot-required': '*** System restart required ***\n',
                'run/reboot-required.pkgs': 'libc6\ndbus\nlibc6\n',
            },
            (True, ['dbus', 'libc6'], None),
        ),
        (
            {
                f'{MODULES}/6.1.0-8-amd64/modules.dep': '',
                f'{MODULES}/6.1.0-10-amd64/modules.dep': '',
                f'{MODULES}/6.1.0-11-amd64/updates/x.ko': '',
            },
            (True, [], '6.1.0-10-amd64'),
        ),
        # Installed before the start: somebody has chosen the older one.
        (
            {
                f'{MODULES}/6.1.0-10-amd64/modules.dep': '',
                'proc/stat': 'btime 99999999999\n',
            },
            (False, [], None),
        ),
        # Lost its modules.
        ({'proc/sys/kernel/osrelease': '6.1.0-8-amd64\n'}, (True, [], '6.1.0-9-amd64')),
        # The host has started a kernel of its own.
        (
            {'proc/sys/kernel/osrelease': '6.0.0-host\n', 'proc/modules': ''},
            (False, [], None),
        ),
    ],
)
def test_whether_it_should_be_started_anew(tree, files, wanted):
    found = machine.reboot_required(tree({**KERNEL, **files}))

    assert tuple(found.values()) == wanted


@pytest.mark.skipif(
    shutil.which('systemd-detect-virt') is None, reason='there is no systemd'
)
def test_the_real_hypervisor():
    detect = subprocess.run(
        ['systemd-detect-virt', '--vm'], capture_output=True, text=True, check=False
    ).stdout.strip()

    found = machine.virtualization()

    assert found['type'] == {'none': None}.get(detect, detect)
    assert set(machine.reboot_required()) == {'required', 'packages', 'kernel'}
