# SPDX-License-Identifier: Apache-2.0
"""Which machine this is, from files and events as the kernel gives them."""

import errno
import os
import pathlib
import socket

import pytest

from guestagent import loop as loops
from guestagent.agent import machine, pace

#: As Linux sends them.
CHANGE = (
    b'change@/devices/platform/VMGENCTR:00\0ACTION=change\0'
    b'DEVPATH=/devices/platform/VMGENCTR:00\0SUBSYSTEM=platform\0'
)


def write(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_a_machine_that_says_nothing(tmp_path):
    assert machine.read(tmp_path) == machine.Machine('', '', machine.CONNECTION)


def test_qemu_lets_the_generation_id_be_read(tmp_path):
    write(tmp_path, 'sys/class/dmi/id/product_uuid', b'AB-CD\n')
    page = bytes(40) + bytes(range(16)) + bytes(4040)
    write(tmp_path, 'sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw', page)

    assert machine.read(tmp_path) == machine.Machine(
        'ab-cd', bytes(range(16)).hex(), machine.READ
    )


def test_what_was_kept_is_read_by_who_may_open_it_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, '_kept', machine._kept)
    page = 'sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw'
    write(tmp_path, 'sys/class/dmi/id/product_uuid', b'AB-CD\n')
    write(tmp_path, page, bytes(40) + b'1' * 16)

    machine.keep(tmp_path)
    (tmp_path / 'sys/class/dmi/id/product_uuid').unlink()
    with open(tmp_path / page, 'r+b') as file:
        file.write(bytes(40) + b'2' * 16)
    (tmp_path / page).unlink()

    # The firmware's name stays; the generation is read anew each time.
    found = machine.read(tmp_path)
    assert found == machine.Machine('ab-cd', (b'2' * 16).hex(), machine.READ)
    os.close(machine._kept.page)


def test_nothing_to_keep_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, '_kept', machine._kept)
    machine.keep(tmp_path)
    assert machine.read(tmp_path) == machine.Machine('', '', machine.CONNECTION)


@pytest.mark.parametrize('bus', ['platform', 'acpi'])
def test_newer_kernels_tell_of_a_change(tmp_path, bus):
    pathlib.Path(tmp_path, 'sys/bus', bus, 'drivers/vmgenid').mkdir(parents=True)

    assert machine.read(tmp_path).noticed_by == machine.EVENT


def test_which_event_it_is():
    assert machine.is_new_generation(CHANGE + b'NEW_VMGENID=1\0SEQNUM=7\0')
    assert not machine.is_new_generation(CHANGE + b'SEQNUM=7\0')
    # Whoever is root can have the kernel send this.
    assert not machine.is_new_generation(CHANGE + b'SYNTH_ARG_NEW_VMGENID=1\0')


class _Kernel:
    """A socket in place of the kernel's, with events that wait."""

    def __init__(self, *events):
        self.ours, self._theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        self._events = list(events)
        self._theirs.send(b'.' * len(events))

    def bind(self, address):
        assert address == (0, 1)

    def fileno(self):
        return self.ours.fileno()

    def recvfrom(self, _size):
        if not self._events:
            self.ours.recv(100)
            raise OSError(errno.ENOBUFS, 'too many')
        return self._events.pop(0)

    def close(self):
        self.ours.close()
        self._theirs.close()


def test_only_the_kernel_is_believed(monkeypatch):
    new = CHANGE + b'NEW_VMGENID=1\0'
    kernel = _Kernel((new, (1234, 1)), (CHANGE, (0, 1)), (new, (0, 1)))
    monkeypatch.setattr(machine.socket, 'socket', lambda *_: kernel)
    changes = []
    loop = loops.Loop()
    watch = machine.Watch(loop, lambda: changes.append(1))
    watch.start()
    for _ in range(2):
        loop.run_once(0)
        assert not changes
    for _ in range(2):
        loop.run_once(0)
    watch.stop()
    loop.close()

    assert changes == [1]


def test_a_system_without_such_sockets_is_no_error(monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EPERM, 'not in here')

    monkeypatch.setattr(machine.socket, 'socket', refuse)
    loop = loops.Loop()
    watch = machine.Watch(loop, lambda: None)
    watch.start()
    watch.stop()
    loop.close()


def test_a_backlog_is_paced_and_what_follows_it_is_not():
    slow = pace.Pace(rate=10)
    assert slow.wait(0.0) == 0

    slow.begin(5, now=100.0)
    now, times = 100.0, []
    for _ in range(5):
        now += slow.wait(now)
        times.append(now)
        slow.sent(now)

    assert times == pytest.approx([100.0, 100.0, 100.0, 100.05, 100.15])
    assert slow.wait(now) == 0
