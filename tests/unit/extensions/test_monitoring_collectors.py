# SPDX-License-Identifier: Apache-2.0
"""Collectors: on sample trees, and beside what the system says by other ways."""

import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import types

import pytest
from guestagent_monitoring.collectors import filesystems, memory, nics, system

MEMINFO = """\
MemTotal:        2030720 kB
MemFree:          184356 kB
MemAvailable:    1439844 kB
Buffers:           10000 kB
Cached:           700000 kB
SwapTotal:        975868 kB
SwapFree:         900000 kB
HugePages_Total:       3
"""

FILESYSTEM_TYPES = """\
nodev\tsysfs
nodev\tproc
nodev\ttmpfs
nodev\tnfs4
nodev\toverlay
\text4
\tvfat
\tsquashfs
\tfuseblk
nodev\tfuse
"""

#: Mount points with a mark are those whose figures may be asked for.
MOUNTS = r"""
21 1 0:19 / /proc rw,nosuid shared:1 - proc proc rw
22 1 0:20 / /sys rw - sysfs sysfs rw
23 1 0:21 / /run rw shared:2 master:1 - tmpfs tmpfs rw,size=1k
24 1 253:1 / / rw,relatime shared:3 - ext4 /dev/vda1 rw
25 24 253:15 / /boot/efi rw - vfat /dev/vda15 rw
26 24 253:1 /srv /export rw - ext4 /dev/vda1 rw
27 24 253:32 /sub /first/of/two rw - ext4 /dev/vdc rw
28 24 253:32 / /whole rw - ext4 /dev/vdc rw
29 24 0:40 / /nfs rw - nfs4 server:/a rw,vers=4.2
30 29 253:48 / /nfs/local rw - ext4 /dev/vdd rw
31 24 253:48 / /nfsnot rw - ext4 /dev/vde rw
32 24 253:64 / /with\040space\134n ro - ext4 /dev/vdf rw
33 24 253:65 / /became/read/only rw - ext4 /dev/vdg ro,errors=remount-ro
34 24 253:66 / /hidden rw - ext4 /dev/vdh rw
35 24 253:67 / /hidden rw - ext4 /dev/vdi rw
36 24 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
37 24 0:50 / /home/a/remote rw - fuse.sshfs a@b: rw
38 24 0:51 / /layers rw - overlay overlay rw,lowerdir=/x
39 24 253:68 / /var/lib/kubelet/pods/1/v rw - ext4 /dev/vdj rw
40 24 8:1 / /media/usb rw - fuseblk /dev/sda1 rw
41 24 0:52 / /sys/fs/fuse/connections rw - fusectl fusectl rw
"""


@pytest.fixture
def touched(monkeypatch):
    """The paths whose figures are asked for; all have the same."""
    paths = []

    def statvfs(path):
        paths.append(path)
        if path == '/boot/efi':
            raise PermissionError(13, 'Permission denied')
        return types.SimpleNamespace(
            f_frsize=4096, f_blocks=100, f_bfree=40, f_bavail=35
        )

    monkeypatch.setattr(os, 'statvfs', statvfs)
    return paths


@pytest.fixture
def mounts(tree, touched):
    root = tree(
        {'proc/self/mountinfo': MOUNTS.lstrip(), 'proc/filesystems': FILESYSTEM_TYPES}
    )
    found = filesystems.filesystems(root, ['/var/lib/kubelet/*'], ['tmp*', 'squashfs'])
    return {item['mount_point']: item for item in found}


def test_filesystems_that_store_something_are_named_once(mounts):
    assert list(mounts) == [
        '/',
        '/became/read/only',
        '/boot/efi',
        '/hidden',
        '/home/a/remote',
        '/layers',
        '/media/usb',
        '/nfs',
        '/nfs/local',
        '/whole',
        '/with space\\n',
    ]
    assert mounts['/'] == {
        'mount_point': '/',
        'device': '/dev/vda1',
        'type': 'ext4',
        'read_only': False,
        'total': 409600,
        'used': 245760,
        'free': 143360,
    }
    assert mounts['/hidden']['device'] == '/dev/vdi'


def test_what_may_hang_is_named_but_never_touched(mounts, touched):
    assert sorted(touched) == [
        '/',
        '/became/read/only',
        '/boot/efi',
        '/hidden',
        '/layers',
        '/media/usb',
        '/whole',
        '/with space\\n',
    ]
    for point in ('/nfs', '/home/a/remote', '/nfs/local', '/boot/efi'):
        assert mounts[point]['total'] is mounts[point]['free'] is None
    assert mounts['/nfs']['device'] == 'server:/a'


def test_read_only_by_the_mount_or_by_the_filesystem(mounts):
    assert [point for point, item in mounts.items() if item['read_only']] == [
        '/became/read/only',
        '/with space\\n',
    ]


def test_a_remote_root_does_not_make_all_else_remote(tree, touched):
    root = tree(
        {
            'proc/filesystems': FILESYSTEM_TYPES,
            'proc/self/mountinfo': (
                '24 1 0:40 / / rw - nfs server:/root rw\n'
                '25 24 253:1 / /data rw - ext4 /dev/vda rw\n'
            ),
        }
    )

    filesystems.filesystems(root)

    assert touched == ['/data']


def test_names_in_any_encoding_can_be_sent(tree, touched):
    root = tree(
        {
            'proc/filesystems': FILESYSTEM_TYPES,
            'proc/self/mountinfo': b'24 1 253:1 / /caf\xe9 rw - ext4 /dev/\xff rw\n',
        }
    )

    found = filesystems.filesystems(root)

    assert touched == [os.fsdecode(b'/caf\xe9')]
    assert found[0]['mount_point'].encode() == '/caf\ufffd'.encode()
    assert found[0]['device'] == '/dev/\ufffd'


def test_the_real_filesystems():
    mountinfo = pathlib.Path('/proc/self/mountinfo')
    before = mountinfo.read_text()
    found = filesystems.filesystems()

    json.dumps(found)
    lines = (before + mountinfo.read_text()).splitlines()
    points = {line.split()[4] for line in lines}
    assert {
        item['mount_point']
        for item in found
        if ' ' not in item['mount_point'] and '\\' not in item['mount_point']
    } <= points
    for item in found:
        if item['total'] is None:
            continue
        figures = os.statvfs(item['mount_point'])
        assert item['total'] == figures.f_blocks * figures.f_frsize
        assert 0 <= item['free'] <= item['total'] - item['used']


def test_memory_and_swap_of_a_sample(tree):
    root = tree({'proc/meminfo': MEMINFO})

    assert memory.memory(root) == {
        'total': 2030720 * 1024,
        'free': 184356 * 1024,
        'available': 1439844 * 1024,
    }
    assert memory.swap(root) == {'total': 975868 * 1024, 'free': 900000 * 1024}
    assert memory.details(root) == {
        'total': 2030720 * 1024,
        'free': 184356 * 1024,
        'buffers': 10000 * 1024,
        'cached': 700000 * 1024,
        'swap_total': 975868 * 1024,
        'swap_free': 900000 * 1024,
    }


def test_memory_of_a_kernel_that_does_not_estimate(tree):
    root = tree({'proc/meminfo': 'MemTotal: 8 kB\nMemFree: 4 kB\n'})

    assert memory.memory(root)['available'] == 4096
    with pytest.raises(LookupError):
        memory.swap(root)


def test_the_real_memory():
    found = memory.memory()

    assert found['total'] == os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    assert 0 < found['free'] <= found['total']
    assert memory.swap()['total'] >= memory.swap()['free']


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        (
            'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n'
            'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            {
                'id': 'debian',
                'name': 'Debian GNU/Linux',
                'version': '12',
                'pretty': 'Debian GNU/Linux 12 (bookworm)',
            },
        ),
        (
            "# a comment=1\n\nNAME='Arch Linux'\nID=arch\nnonsense\n",
            {
                'id': 'arch',
                'name': 'Arch Linux',
                'version': None,
                'pretty': 'Arch Linux',
            },
        ),
        (
            'NAME="A \\"B\\" \\$C"\nVERSION_ID=""\n',
            {'id': 'linux', 'name': 'A "B" $C', 'version': '', 'pretty': 'A "B" $C'},
        ),
        ('', {'id': 'linux', 'name': 'Linux', 'version': None, 'pretty': 'Linux'}),
    ],
)
def test_operating_systems(tree, text, wanted):
    assert system.operating_system(tree({'usr/lib/os-release': text})) == wanted


def test_the_administrators_os_release_comes_first(tree):
    root = tree({'etc/os-release': 'ID=mine', 'usr/lib/os-release': 'ID=theirs'})

    assert system.operating_system(root)['id'] == 'mine'


def test_a_guest_without_os_release_has_no_such_fact(tree):
    assert system.operating_system(tree({})) is None


def test_the_real_system():
    release = platform.freedesktop_os_release()

    assert system.operating_system()['id'] == release['ID']
    assert system.operating_system()['pretty'] == release['PRETTY_NAME']
    assert system.hostname() == socket.gethostname()
    assert system.kernel() == platform.release()
    assert system.architecture() == platform.machine()
    assert system.cpus() == os.cpu_count()
    assert 0 < system.boot_time() < pathlib.Path('/proc/self').stat().st_ctime + 1


def test_a_kernel_that_does_not_tell_its_start(tree):
    with pytest.raises(LookupError, match='btime'):
        system.boot_time(tree({'proc/stat': 'cpu 1 2 3\n'}))


def test_the_real_nics_are_those_of_sys():
    found = {item['name']: item for item in nics.nics()}

    folder = pathlib.Path('/sys/class/net')
    assert set(found) == {
        path.name for path in folder.iterdir() if (path / 'mtu').exists()
    }
    assert 'lo' in found
    for name, nic in found.items():
        assert nic['mtu'] == int((folder / name / 'mtu').read_text())
        assert nic['state'] == (folder / name / 'operstate').read_text().strip()
        if nic['mac']:
            assert nic['mac'] == (folder / name / 'address').read_text().strip()


@pytest.mark.skipif(
    shutil.which('ip') is None, reason='iproute2 is not installed; /sys was compared'
)
def test_the_real_addresses_are_those_of_iproute2():
    told = json.loads(
        subprocess.run(['ip', '-j', 'addr'], capture_output=True, check=True).stdout
    )

    assert {
        (nic['name'], item['family'], item['address'], item['prefix'])
        for nic in nics.nics()
        for item in nic['addresses']
    } == {
        (link['ifname'], item['family'], item['local'], item['prefixlen'])
        for link in told
        for item in link['addr_info']
        if 'local' in item
    }


def test_ignored_nics_are_left_out_with_their_addresses():
    assert [nic['name'] for nic in nics.nics(['[!l]*', 'l?x'])] == [
        name
        for name in sorted(os.listdir('/sys/class/net'))
        if name.startswith('l') and not (len(name) == 3 and name[2] == 'x')
    ]
