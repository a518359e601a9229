# SPDX-License-Identifier: Apache-2.0
"""Which machine this is, and whether it was copied or put back to a snapshot.

Hypervisors give a guest a *generation id* (vmgenid) that changes whenever it goes on
from a snapshot, or as a copy.  QEMU lets root read it; newer kernels tell of a change
by an event of the device, without the value.  Where there is neither, the connection
that is lost by it is all that can be noticed.

An agent that stops being root calls :func:`keep` before, and can read on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import socket
from collections.abc import Callable
from typing import NamedTuple

from guestagent import loop as loops

LOG = logging.getLogger(__name__)

_UUID = 'sys/class/dmi/id/product_uuid'
#: QEMU's page with the generation id, and where it stands in it.
_FW_CFG = 'sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw'
_FW_CFG_OFFSET = 40
_DRIVERS = ('sys/bus/platform/drivers/vmgenid', 'sys/bus/acpi/drivers/vmgenid')

#: How a snapshot is noticed.
READ, EVENT, CONNECTION = 'vmgenid', 'vmgenid event', 'connection'

_KERNEL_EVENTS = 15  # NETLINK_KOBJECT_UEVENT
_GROUP = 1


class Machine(NamedTuple):
    """What tells a machine from others.

    :ivar uuid: the firmware's; ``''``: it names none, or we may not read it.
    :ivar generation: the generation id; ``''``: it cannot be read.
    :ivar noticed_by: READ, EVENT or CONNECTION.
    """

    uuid: str
    generation: str
    noticed_by: str


class _Kept(NamedTuple):
    """What was opened, and read, by who was root."""

    page: int | None
    uuid: str


_kept = _Kept(None, '')


def keep(root: pathlib.Path = pathlib.Path('/')) -> None:
    """Let :func:`read` return as much as now when this process is no longer root."""
    global _kept
    page = None
    with contextlib.suppress(OSError):  # there is none
        page = os.open(root / _FW_CFG, os.O_RDONLY | os.O_CLOEXEC)
    # The firmware's name of a machine does not change while it runs.
    _kept = _Kept(page, _read_uuid(root))


def read(root: pathlib.Path = pathlib.Path('/')) -> Machine:
    """Return what can be known of this machine."""
    generation = _read_generation(root)
    noticed_by = CONNECTION
    if generation:
        noticed_by = READ
    elif any((root / driver).is_dir() for driver in _DRIVERS):
        noticed_by = EVENT
    return Machine(_kept.uuid or _read_uuid(root), generation, noticed_by)


def is_new_generation(event: bytes) -> bool:
    """Whether an event of the kernel says that the generation id has changed."""
    return b'NEW_VMGENID=1' in event.split(b'\0')


class Watch:
    """Listens to the kernel's events while the agent runs; on the loop.

    :param changed: called when the generation id has changed.
    """

    def __init__(self, loop: loops.Loop, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen, where the system lets us."""
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            made = socket.socket(socket.AF_NETLINK, kind, _KERNEL_EVENTS)
        except OSError as error:
            LOG.info('events of the kernel cannot be heard: %s', error)
            return
        try:
            made.bind((0, _GROUP))
        except OSError as error:
            made.close()
            LOG.info('events of the kernel cannot be heard: %s', error)
            return
        self._socket = made
        self._loop.watch(made.fileno(), loops.READ, self._read)

    def stop(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self, _events: int) -> None:
        if self._socket is None:
            return
        try:
            event, (sender, _groups) = self._socket.recvfrom(8192)
        except OSError:
            return  # too many came at once: the connection will tell
        # Only the kernel has the number 0; other programs may send too.
        if sender == 0 and is_new_generation(event):
            self._changed()


def _read_uuid(root: pathlib.Path) -> str:
    try:
        return (root / _UUID).read_text(encoding='ascii').strip().lower()
    except (OSError, UnicodeDecodeError):
        return ''


def _read_generation(root: pathlib.Path) -> str:
    try:
        if _kept.page is None:
            page = os.open(root / _FW_CFG, os.O_RDONLY | os.O_CLOEXEC)
            try:
                raw = os.pread(page, 16, _FW_CFG_OFFSET)
            finally:
                os.close(page)
        else:
            raw = os.pread(_kept.page, 16, _FW_CFG_OFFSET)
    except OSError:
        return ''
    return raw.hex() if len(raw) == 16 and any(raw) else ''
