# SPDX-License-Identifier: Apache-2.0
"""Disks by their paths in /sys, as kernels in various guests have them; the real ones.

The paths are those that these kinds of disks have under QEMU and on hardware.
"""

import os
import pathlib
import types

import pytest
from guestagent_monitoring.collectors import blocks, disks, mounts

PCI = 'sys/devices/pci0000:00'


@pytest.fixture
def machine(tree):
    """``machine(folder, file=content, ...)``: one more device; returns the root."""
    numbers = iter(range(1, 100))

    def plant(folder, /, **files):
        name = os.path.basename(folder)
        number = f'253:{next(numbers)}'
        files = {'dev': number, 'size': '2048', 'ro': '0', **files}
        return tree(
            {
                **{
                    f'{folder}/{path.replace("__", "/")}': text
                    for path, text in files.items()
                },
                f'sys/class/block/{name}': pathlib.Path('../../..') / folder,
                f'sys/dev/block/{number}': pathlib.Path('../../..') / folder,
            }
        )

    return plant


PLACES = [
    # (where, the driver, its folder, (bus type, bus, target, unit), PCI)
    (
        f'{PCI}/0000:00:02.0/virtio1/block/vda',
        ('0000:00:02.0', 'virtio-pci'),
        ('virtio', 0, 0, 0),
        (0, 0, 2, 0),
    ),
    (
        f'{PCI}/0000:00:02.3/0000:04:00.0/virtio2/host6/target6:0:1/6:0:1:5/block/sda',
        ('0000:00:02.3/0000:04:00.0', 'virtio-pci'),
        ('scsi', 0, 1, 5),
        (0, 4, 0, 0),
    ),
    (
        f'{PCI}/0000:00:06.0/host3/target3:0:4/3:0:4:0/block/sda',
        ('0000:00:06.0', 'sym53c8xx'),
        ('scsi', 0, 0, 4),
        (0, 0, 6, 0),
    ),
    (
        f'{PCI}/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sdc',
        ('0000:00:1f.2', 'ahci'),
        ('sata', 0, 0, 2),
        (0, 0, 0x1F, 2),
    ),
    (
        f'{PCI}/0000:00:01.1/ata2/host1/target1:0:1/1:0:1:0/block/sdb',
        ('0000:00:01.1', 'ata_piix'),
        ('ide', 1, 0, 1),
        (0, 0, 1, 1),
    ),
    (
        f'{PCI}/0000:00:07.0/nvme/nvme0/nvme0n1',
        ('0000:00:07.0', 'nvme'),
        ('nvme', 0, 0, 0),
        (0, 0, 7, 0),
    ),
    (
        f'{PCI}/0000:00:1d.7/usb1/1-1/1-1:1.0/host9/target9:0:0/9:0:0:0/block/sdd',
        ('0000:00:1d.7', 'ehci-pci'),
        ('usb', 0, 0, 0),
        (0, 0, 0x1D, 7),
    ),
    (
        f'{PCI}/0000:00:05.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0',
        ('0000:00:05.0', 'sdhci-pci'),
        ('mmc', 0, 0, 0),
        (0, 0, 5, 0),
    ),
    (
        f'{PCI}/0000:5d:00.0/0000:5e:00.0/host0/rport-0:0-2/target0:0:3/0:0:3:7/block/sde',
        ('0000:5d:00.0/0000:5e:00.0', 'lpfc'),
        ('fibre', 0, 3, 7),
        (0, 0x5E, 0, 0),
    ),
    (
        'sys/devices/platform/host4/session1/target4:0:0/4:0:0:1/block/sdf',
        None,
        ('iscsi', 0, 0, 1),
        None,
    ),
    (
        'sys/devices/platform/a003e00.virtio_mmio/virtio0/block/vdb',
        None,
        ('virtio', 0, 0, 0),
        None,
    ),
    ('sys/devices/vbd-51712/block/xvda', None, ('xen', 0, 0, 0), None),
    ('sys/devices/platform/floppy.0/block/fd0', None, ('fdc', 0, 0, 0), None),
    ('sys/devices/pmem/block/pmem0', None, ('unknown', 0, 0, 0), None),
]


@pytest.mark.parametrize(
    ('path', 'driver', 'place', 'pci'), PLACES, ids=[row[2][0] for row in PLACES]
)
def test_where_a_disk_is(machine, tree, path, driver, place, pci):
    root = machine(path)
    if driver is not None:
        tree({f'{PCI}/{driver[0]}/driver': pathlib.Path('/drivers') / driver[1]})
    if 'ata' in path:
        # A controller has a host for each of its ports, used or not.
        for number in range(6 if 'ahci' in driver else 2):
            tree({f'{PCI}/{driver[0]}/ata{number + 1}/host{number}/x': ''})

    name = os.path.basename(path)
    found = blocks.address(root, name)

    assert tuple(found[key] for key in ('bus_type', 'bus', 'target', 'unit')) == place
    assert found['driver'] == (driver and driver[1])
    assert (found['pci'] and tuple(found['pci'].values())) == pci
    assert (found['dev'], found['ccw']) == (f'/dev/{name}', None)


def test_a_channel_of_a_mainframe(machine):
    root = machine('sys/devices/css0/0.0.0001/0.0.12ab/virtio3/block/vda')

    found = blocks.address(root, 'vda')

    assert found['bus_type'] == 'virtio'
    assert found['ccw'] == {'cssid': 0, 'ssid': 0, 'subchno': 1, 'devno': 0x12AB}


def test_nvme_with_several_ways_to_it_has_the_address_of_the_first(machine, tree):
    subsystem = 'sys/devices/virtual/nvme-subsystem/nvme-subsys0'
    root = machine(f'{subsystem}/nvme0n1')
    for number in (1, 0):
        controller = f'{PCI}/0000:00:0{number + 4}.0/nvme/nvme{number}'
        tree(
            {
                f'{controller}/state': 'live',
                f'{subsystem}/nvme{number}': pathlib.Path('../../../../..')
                / controller,
            }
        )

    found = blocks.address(root, 'nvme0n1')

    assert (found['bus_type'], found['pci']['slot']) == ('nvme', 4)
    assert blocks.disks_below(root, 'nvme0n1') == ['nvme0n1']


@pytest.mark.parametrize(
    ('files', 'wanted'),
    [
        ({'serial': 'host-set\n'}, ('host-set', None)),
        ({'device__serial': 'NVME 1  \n'}, ('NVME 1', None)),
        ({'device__vpd_pg80': b'\0\x80\0\x08 QM0001\0rest'}, ('QM0001', None)),
        ({}, (None, None)),
    ],
)
def test_serial_numbers_in_sys(machine, files, wanted):
    root = machine(f'{PCI}/0000:00:02.0/virtio1/block/vda', **files)

    assert blocks.serials(root, 'vda') == wanted


def test_serial_numbers_as_udev_knows_them(machine, tree):
    root = machine(f'{PCI}/0000:00:02.0/virtio1/host0/target0:0:0/0:0:0:0/block/sda')
    tree(
        {
            'run/udev/data/b253:1': 'S:disk/by-id/x\nE:ID_SERIAL=0QEMU_DISK_data\n'
            'E:ID_SERIAL_SHORT=0QEMU\nE:ID_SCSI_SERIAL=data\nG:systemd\n'
        }
    )

    assert blocks.serials(root, 'sda') == ('data', '0QEMU_DISK_data')
    assert disks.disk_serials(root) == {'data': '/dev/sda'}


@pytest.fixture
def layered(machine, tree):
    """A volume of a group on a partition of vda and on all of vdb, and a loop."""
    vda = f'{PCI}/0000:00:02.0/virtio1/block/vda'
    root = machine(vda, serial='one', removable='0')
    machine(f'{vda}/vda1', partition='1')
    machine(f'{PCI}/0000:00:03.0/virtio2/block/vdb')
    machine('sys/devices/virtual/block/dm-0', dm__name='group-volume')
    machine('sys/devices/virtual/block/loop0')
    machine('sys/devices/virtual/block/loop1', size='0')
    machine('sys/devices/virtual/block/ram0')
    tree(
        {
            f'sys/devices/virtual/block/dm-0/slaves/{name}': pathlib.Path('/any')
            for name in ('vda1', 'vdb')
        }
    )
    return root


def test_disks_and_what_lies_on_them(layered):
    found = {item['name']: item for item in disks.disks(layered)}

    assert list(found) == [
        '/dev/dm-0',
        '/dev/loop0',
        '/dev/vda',
        '/dev/vda1',
        '/dev/vdb',
    ]
    assert {
        name: (item['partition'], item['dependencies'], item['alias'])
        for name, item in found.items()
    } == {
        '/dev/dm-0': (False, ['/dev/vda1', '/dev/vdb'], 'group-volume'),
        '/dev/loop0': (False, [], None),
        '/dev/vda': (False, [], None),
        '/dev/vda1': (True, ['/dev/vda'], None),
        '/dev/vdb': (False, [], None),
    }
    assert (
        found['/dev/vda']['address']['serial'] == found['/dev/vda']['serial'] == 'one'
    )
    assert found['/dev/vda']['size'] == 2048 * 512
    for name in ('/dev/dm-0', '/dev/loop0', '/dev/vda1'):
        assert found[name]['address'] is None


def test_mounts_name_the_disks_below_them(layered, tree, monkeypatch):
    monkeypatch.setattr(
        os,
        'statvfs',
        lambda path: types.SimpleNamespace(
            f_frsize=512, f_bsize=4096, f_blocks=100, f_bfree=40, f_bavail=35
        ),
    )
    tree(
        {
            'proc/filesystems': '\text4\nnodev\tbtrfs\nnodev\tnfs\n',
            'proc/self/mountinfo': (
                '24 1 253:4 / / rw - ext4 /dev/mapper/group-volume rw\n'
                '25 24 253:4 /home /home rw - ext4 /dev/mapper/group-volume rw\n'
                '26 24 253:5 / /loop rw - ext4 /dev/loop0 rw\n'
                '27 24 0:33 / /pool rw - btrfs /dev/vdb rw\n'
                '28 24 0:34 / /far rw - nfs there:/x rw\n'
                '29 24 253:99 / /gone rw - ext4 /dev/vdz rw\n'
            ),
            'dev/vdb': '',
        }
    )

    found = mounts.mounts(layered)

    assert [
        (item['mount_point'], item['name'], [disk['dev'] for disk in item['disks']])
        for item in found
    ] == [
        ('/', 'dm-0', ['/dev/vda', '/dev/vdb']),
        ('/home', 'dm-0', ['/dev/vda', '/dev/vdb']),
        ('/loop', 'loop0', []),
        ('/pool', 'vdb', ['/dev/vdb']),
        ('/far', None, []),
        ('/gone', None, []),
    ]
    assert {key: found[0][key] for key in ('total', 'total_privileged', 'used')} == {
        'total': 95 * 512,
        'total_privileged': 100 * 512,
        'used': 60 * 512,
    }
    assert found[4]['total'] is found[4]['used'] is None


def test_the_real_disks_are_those_of_proc():
    listed = {
        words[3]: int(words[2]) * 1024
        for line in pathlib.Path('/proc/partitions').read_text().splitlines()[2:]
        if (words := line.split())
    }

    found = disks.disks()

    # Loop devices of other tests come and go.
    steady = {
        f'/dev/{name}': size
        for name, size in listed.items()
        if not name.startswith(('loop', 'ram', 'dm-')) and size
    }
    assert {
        item['name']: item['size'] for item in found if item['name'] in steady
    } == steady
    for item in found:
        if item['address'] is not None and item['address']['pci'] is not None:
            pci = item['address']['pci']
            named = '{domain:04x}:{bus:02x}:{slot:02x}.{function:x}'.format(**pci)
            assert os.path.exists(f'/sys/bus/pci/devices/{named}')


def test_the_real_root_is_on_a_device_that_holds_it():
    (root,) = [item for item in mounts.mounts() if item['mount_point'] == '/']

    figures = os.statvfs('/')
    assert root['total_privileged'] == figures.f_blocks * figures.f_frsize
    if root['name'] is not None:
        number = os.stat('/').st_dev
        assert pathlib.Path(f'/sys/class/block/{root["name"]}/dev').read_text() == (
            f'{os.major(number)}:{os.minor(number)}\n'
        )
