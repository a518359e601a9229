# SPDX-License-Identifier: Apache-2.0
"""What the guest runs on; and whether it should be started anew."""

from __future__ import annotations

import os
import re
from typing import Any

from guestagent_monitoring import files
from guestagent_monitoring.collectors import system

_DMI = 'sys/class/dmi/id'
#: What the firmware's words mean; the first that is in them counts.
_FIRMWARE = (
    ('amazon ec2', 'amazon'),
    ('google compute engine', 'google'),
    ('vmware', 'vmware'),
    ('virtualbox', 'oracle'),
    ('innotek', 'oracle'),
    ('parallels', 'parallels'),
    ('bhyve', 'bhyve'),
    ('apple virtualization', 'apple'),
    ('xen', 'xen'),
    ('kvm', 'kvm'),
    ('openstack', 'kvm'),
    ('ovirt', 'kvm'),
    ('rhev', 'kvm'),
    ('nutanix', 'kvm'),
    ('qemu', 'qemu'),
    ('bochs', 'bochs'),
)
#: A clock that only a guest of this hypervisor has.
_CLOCKS = (
    ('kvm-clock', 'kvm'),
    ('hyperv_clocksource', 'microsoft'),
    ('vmware', 'vmware'),
    ('xen', 'xen'),
)
_CLOCK = 'sys/devices/system/clocksource/clocksource0/available_clocksource'
_MODULES = ('lib/modules', 'usr/lib/modules')
_DIGITS = re.compile(r'(\d+)')


def virtualization(root: str = '/') -> dict[str, Any]:
    """Return ``{type, container, vendor, product, version}``.

    ``type`` is the hypervisor (kvm, qemu, vmware, microsoft, xen, oracle, amazon,
    google, ...), ``unknown`` for one that does not say, ``None`` on hardware;
    ``container`` what the agent itself is confined in (docker, podman, lxc, ...) or
    ``None``; the others are the firmware's words or ``None``.
    """
    vendor = files.read_first(root, f'{_DMI}/sys_vendor')
    product = files.read_first(root, f'{_DMI}/product_name')
    return {
        'type': _hypervisor(root, vendor, product),
        'container': _container(root),
        'vendor': vendor,
        'product': product,
        'version': files.read_first(root, f'{_DMI}/product_version'),
    }


def reboot_required(root: str = '/') -> dict[str, Any]:
    """Return ``{required, packages, kernel}``: whether, for which, to which kernel.

    ``packages`` are those that asked for it; ``kernel`` is the newest that was
    installed since the start and is newer than the one that runs, or ``None``.  It is
    required, too, where the kernel that runs has lost its modules: it can load no more
    of them.
    """
    asked = os.path.exists(os.path.join(root, 'run/reboot-required'))
    packages = (files.read_first(root, 'run/reboot-required.pkgs') or '').split()
    running = system.kernel(root)
    installed = _installed_kernels(root)
    # The host may have started a kernel of its own, without modules.
    modular = files.read_first(root, 'proc/modules') is not None
    newer = [
        release
        for release, at in installed.items()
        if (modular or running in installed)
        and _order(release) > _order(running)
        and at > system.boot_time(root)
    ]
    return {
        'required': asked or bool(newer) or (modular and running not in installed),
        'packages': sorted(set(packages)),
        'kernel': max(newer, key=_order, default=None),
    }


def _hypervisor(root: str, vendor: str | None, product: str | None) -> str | None:
    told = files.read_first(root, 'sys/hypervisor/type')
    if told is not None:
        return told
    words = ' '.join(
        (
            vendor or '',
            product or '',
            files.read_first(root, f'{_DMI}/bios_vendor') or '',
        )
    ).lower()
    if vendor == 'Microsoft Corporation' and product == 'Virtual Machine':
        return 'microsoft'
    clocks = files.read_first(root, _CLOCK) or ''
    by_clock = next((kind for mark, kind in _CLOCKS if mark in clocks), None)
    by_firmware = next((kind for mark, kind in _FIRMWARE if mark in words), None)
    # QEMU's firmware says nothing of who runs the processor.
    if by_firmware in (None, 'qemu') and by_clock is not None:
        return by_clock
    if by_firmware is not None:
        return by_firmware
    tree = files.read_first(root, 'proc/device-tree/hypervisor/compatible') or ''
    if tree:
        return tree.split(',')[-1].split('\0')[0]
    if 'KVM' in (files.read_first(root, 'proc/sysinfo') or ''):
        return 'kvm'
    return 'unknown' if _says_hypervisor(root) else None


def _says_hypervisor(root: str) -> bool:
    """Whether the processor says that it is not alone."""
    try:
        with open(os.path.join(root, 'proc/cpuinfo'), encoding='utf-8') as file:
            for line in file:
                if line.startswith('flags'):
                    return 'hypervisor' in line.split()
    except OSError:
        pass
    return False


def _container(root: str) -> str | None:
    told = files.read_first(root, 'run/systemd/container')
    if told is not None:
        return told
    environment = (files.read_first(root, 'proc/1/environ') or '').split('\0')
    for variable in environment:
        if variable.startswith('container=') and variable != 'container=':
            return variable.partition('=')[2]
    for path, kind in (('.dockerenv', 'docker'), ('run/.containerenv', 'podman')):
        if os.path.exists(os.path.join(root, path)):
            return kind
    return 'wsl' if 'microsoft' in system.kernel(root).lower() else None


def _installed_kernels(root: str) -> dict[str, float]:
    """Return when each kernel with modules was installed, by its release."""
    found: dict[str, float] = {}
    for folder in _MODULES:
        for release in files.read_names(root, folder):
            path = os.path.join(root, folder, release, 'modules.dep')
            try:
                found.setdefault(release, os.stat(path).st_ctime)
            except OSError:
                continue  # what is left of one that was removed
    return found


def _order(release: str) -> list[tuple[int, str]]:
    """Return what sorts releases as people do: 6.1.0-9 before 6.1.0-10."""
    return [
        (int(part), '') if part.isdigit() else (-1, part)
        for part in _DIGITS.split(release)
        if part
    ]
