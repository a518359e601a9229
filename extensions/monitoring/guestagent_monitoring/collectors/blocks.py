# SPDX-License-Identifier: Apache-2.0
"""Where a disk is: its address on a bus, read out of its path in /sys.

A path names all that lies between the processor and the disk, as
``/sys/devices/pci0000:00/0000:00:05.0/virtio2/host2/target2:0:1/2:0:1:3/block/sdb``.
"""

from __future__ import annotations

import os
import re
from typing import Any

from guestagent_monitoring import files

_PCI = re.compile(
    r'/([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])(?=/)', re.IGNORECASE
)
_CCW = re.compile(
    r'/css[0-9a-f]+/([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)'
    r'/[0-9a-f]+\.[0-9a-f]+\.([0-9a-f]+)(?=/)'
)
#: Controller, channel, target and unit of a SCSI disk, and of what is treated as one.
_SCSI = re.compile(r'/host(\d+)/.*/(\d+):(\d+):(\d+):(\d+)/')
#: The first that is in a path tells the bus; ATA is told by its driver.
_BUSES = (
    (re.compile(r'/usb\d+/'), 'usb'),
    (re.compile(r'/mmc_host/'), 'mmc'),
    (re.compile(r'/nvme\d+/|/nvme-subsystem/'), 'nvme'),
    (re.compile(r'/vbd-\d+/'), 'xen'),
    (re.compile(r'/floppy\.\d+/'), 'fdc'),
    (re.compile(r'/session\d+/target'), 'iscsi'),
    (re.compile(r'/rport-'), 'fibre'),
    (re.compile(r'/end_device-'), 'sas'),
    (re.compile(r'/ata\d+/'), 'ata'),
    (re.compile(r'/host\d+/'), 'scsi'),
    (re.compile(r'/virtio\d+/'), 'virtio'),
)
#: Its only figure that QEMU sets is the target; libvirt calls it the unit.
_LSI = 'sym53c8xx'


def folder(root: str, name: str) -> str:
    """Return the folder in /sys of a block device, by the kernel's name of it."""
    return os.path.realpath(os.path.join(root, 'sys/class/block', name))


def disk_name(root: str, name: str) -> str:
    """Return the disk that a partition is on; any other device is its own."""
    path = folder(root, name)
    if os.path.exists(os.path.join(path, 'partition')):
        return os.path.basename(os.path.dirname(path))
    return name


def parts_of(root: str, name: str) -> list[str]:
    """Return the devices that a device mapper, md or bcache device is made of."""
    return files.read_names(folder(root, name), 'slaves')


def disks_below(root: str, name: str) -> list[str]:
    """Return the disks that a device's content is on in the end, each once."""
    found: dict[str, None] = {}
    waiting, seen = [name], set()
    while waiting:
        disk = disk_name(root, waiting.pop(0))
        if disk in seen:
            continue
        seen.add(disk)
        parts = parts_of(root, disk)
        waiting += parts
        if not parts and not is_virtual(root, disk):
            found[disk] = None
    return list(found)


def is_virtual(root: str, name: str) -> bool:
    """Whether there is no hardware behind it: loop, RAM, device mapper."""
    path = folder(root, name)
    return '/devices/virtual/' in path and '/nvme-subsystem/' not in path


def address(root: str, name: str) -> dict[str, Any]:
    """Return where a disk is.

    It is ``{bus_type, bus, target, unit, pci, ccw, driver, serial, udev_serial,
    dev}``.  ``bus_type`` is one of virtio, scsi, ide, sata, nvme, usb, mmc, xen, fdc,
    iscsi, fibre, sas, unknown; ``pci`` is ``{domain, bus, slot, function}`` of the
    controller, ``ccw`` ``{cssid, ssid, subchno, devno}``, each ``None`` where there
    is none; ``serial`` and ``udev_serial`` as of :func:`serials`.
    """
    path = _hardware_path(root, name)
    pci = list(_PCI.finditer(path))
    driver = _driver(path[: pci[-1].end()]) if pci else None
    bus_type = next((word for form, word in _BUSES if form.search(path)), 'unknown')
    if bus_type == 'ata':
        bus_type = (
            'sata' if driver == 'ahci' or (driver or '')[:5] == 'sata_' else 'ide'
        )
    bus, target, unit = _place(path, bus_type, driver, pci)
    serial, udev_serial = serials(root, name)
    return {
        'bus_type': bus_type,
        'bus': bus,
        'target': target,
        'unit': unit,
        'pci': _numbers(pci[-1], ('domain', 'bus', 'slot', 'function'))
        if pci
        else None,
        'ccw': _numbers(_CCW.search(path), ('cssid', 'ssid', 'subchno', 'devno')),
        'driver': driver,
        'serial': serial,
        'udev_serial': udev_serial,
        'dev': device_path(name),
    }


def serials(root: str, name: str) -> tuple[str | None, str | None]:
    """Return the serial number as the disk tells it, and as udev calls it.

    The first is what the host has set, the second may have the vendor and the model
    in front; each is ``None`` where nobody knows it.
    """
    path = folder(root, name)
    number = files.read_first(path, 'dev') or ''
    told = _udev(root, number)
    serial = (
        files.read_first(path, 'serial', 'device/serial')
        or _unit_serial(path)
        or told.get('ID_SCSI_SERIAL')
        or told.get('ID_SERIAL_SHORT')
        or told.get('ID_SERIAL')
    )
    return serial, told.get('ID_SERIAL')


def device_path(name: str) -> str:
    """Return the path of a device's file; the kernel writes / in names as !."""
    return '/dev/' + name.replace('!', '/')


def _hardware_path(root: str, name: str) -> str:
    """Return the path through the hardware; one of multipath NVMe takes the first."""
    path = folder(root, name)
    if '/nvme-subsystem/' in path:
        subsystem = os.path.dirname(path)
        for entry in files.read_names(subsystem, '.'):
            if re.fullmatch(r'nvme\d+', entry):
                return os.path.realpath(os.path.join(subsystem, entry)) + '/'
    return path + '/'


def _place(
    path: str, bus_type: str, driver: str | None, pci: list[re.Match[str]]
) -> tuple[int, int, int]:
    """Return bus, target and unit, as libvirt writes them for this kind of disk."""
    found = _SCSI.search(path)
    if found is None:
        return 0, 0, 0
    host, channel, target, unit = (
        int(found[1]),
        int(found[3]),
        int(found[4]),
        int(found[5]),
    )
    if bus_type in ('ide', 'sata') and pci:
        number = _host_index(path[: pci[-1].end()], host)
        return (number, 0, target) if bus_type == 'ide' else (0, 0, number)
    if driver == _LSI:
        return 0, 0, target
    return channel, target, unit


def _host_index(controller: str, host: int) -> int:
    """Return which of a controller's hosts this is, from 0."""
    hosts = {
        int(entry[4:])
        for below in ('.', *files.read_names(controller, '.'))
        if below == '.' or below.startswith('ata')
        for entry in files.read_names(controller, below)
        if re.fullmatch(r'host\d+', entry)
    }
    return sorted(hosts).index(host) if host in hosts else 0


def _driver(device: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(device, 'driver')))
    except OSError:
        return None


def _numbers(
    found: re.Match[str] | None, names: tuple[str, ...]
) -> dict[str, int] | None:
    if found is None:
        return None
    return dict(zip(names, (int(text, 16) for text in found.groups()), strict=True))


def _udev(root: str, number: str) -> dict[str, str]:
    """Return what udev knows of a device, by its ``major:minor``."""
    try:
        text = files.read(root, f'run/udev/data/b{number}')
    except OSError:
        return {}
    return files.read_assignments(
        '\n'.join(line[2:] for line in text.splitlines() if line.startswith('E:'))
    )


def _unit_serial(path: str) -> str | None:
    """Return the serial number in page 0x80 of a SCSI disk's vital product data."""
    try:
        with open(os.path.join(path, 'device/vpd_pg80'), 'rb') as file:
            page = file.read(4 + 255)
    except OSError:
        return None
    length = int.from_bytes(page[2:4], 'big')
    return page[4 : 4 + length].decode('ascii', 'replace').strip(' \0') or None
