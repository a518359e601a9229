# SPDX-License-Identifier: Apache-2.0
"""A Debian guest under QEMU, without KVM, with the packaged agent in it.

It has no network: three ports of virtio-serial lead out of it.  At two of them the host
is a socket of QEMU's, where a test speaks qemu-ga's and VDSM's protocol; the third one
QEMU connects to the socket that a hub has for the guest.
"""

import pathlib
import shutil
import subprocess

from devstack import processes
from tests.functional.packages import debian
from tests.interop.qga import agents

#: What this machine needs, by the program that is looked for.
PACKAGES = {
    'qemu-system-x86_64': 'qemu-system-x86',
    'mkfs.ext4': 'e2fsprogs',
    'debootstrap': 'debootstrap',
}
#: What the guest needs to boot by itself; the kernel comes after the list of modules.
_BOOTS = ('udev', 'kmod', 'systemd-sysv', 'dbus', 'initramfs-tools')
_KERNEL = 'linux-image-cloud-amd64'
_MODULES = 'virtio_pci\nvirtio_blk\next4\n'
#: The agent's packages; no conductor, no hub, and nothing for a desktop.
INSTALLED = (
    'guestagent',
    *(
        f'guestagent-{name}'
        for name in (
            *('common', 'seal', 'exec', 'file', 'fsfreeze', 'power', 'hardware'),
            *('accounts', 'monitoring', 'qga', 'ovirt'),
        )
    ),
)
INSTANCE = 'vm-1'
#: Seconds for what a guest without KVM does in ten, with other tests beside it.
LONG = 180
#: Seconds after which what was frozen thaws by itself.
FREEZE_LIMIT = 30
CONFIG = f"""
[DEFAULT]
transport_url = channel:///run/hub-port.sock
instance_id = {INSTANCE}
enabled_extensions = exec, file, fsfreeze, power, hardware, accounts, monitoring
enabled_channels = qga, ovirt
[seal]
allow_plain = true
[qga]
freeze_limit = {FREEZE_LIMIT}
[ovirt]
heart_beat_rate = 1
report_num_cpu_rate = 1
"""
RELAY = """
[Unit]
Description=Relay between the agent and the port whose other end the hub has
[Service]
ExecStart=/usr/bin/python3 /opt/relay.py /dev/virtio-ports/hub.0 /run/hub-port.sock
Restart=always
[Install]
WantedBy=multi-user.target
"""
_HERE = pathlib.Path(__file__).parent


def check() -> None:
    """Look for what is needed.

    :raises guestagent.tests.functional.packages.debian.Unavailable: something is
        missing.
    """
    missing = [
        package for program, package in PACKAGES.items() if not shutil.which(program)
    ]
    if missing:
        raise debian.Unavailable(
            f'a guest needs more of Debian: apt-get install {" ".join(missing)}'
        )


def tree(path: pathlib.Path) -> debian.Tree:
    """Make a tree with all that boots, but without the agent.

    :raises guestagent.tests.functional.packages.debian.Unavailable: none can be made
        here, or apt cannot get the packages.
    """
    return debian.unpack(path, 'guest', _fill)


def _fill(made: debian.Tree) -> None:
    shutil.copy('/etc/resolv.conf', made.path / 'etc/resolv.conf')
    # Nobody keeps it.
    made.write('etc/dpkg/dpkg.cfg.d/quick', 'force-unsafe-io\n')
    apt = ['env', 'DEBIAN_FRONTEND=noninteractive', *debian.proxy_words(), 'apt-get']
    install = [*apt, '--yes', '--no-install-recommends', 'install']
    try:
        made.run(*apt, 'update')
        made.run(*install, *_BOOTS, seconds=300)
        made.write('etc/initramfs-tools/conf.d/guest', 'MODULES=list\n')
        made.write('etc/initramfs-tools/modules', _MODULES)
        made.run(*install, _KERNEL, seconds=300)
    except processes.Failed as error:
        raise debian.Unavailable(f'apt cannot get the guest: {error}') from None


def install(made: debian.Tree, packages: dict[str, pathlib.Path]) -> None:
    """Install the agent's packages, and configure it."""
    made.install(*(packages[name] for name in INSTALLED))
    made.write('etc/guestagent/agent.conf.d/test.conf', CONFIG, 0o640)
    made.run('chgrp', 'guestagent', '/etc/guestagent/agent.conf.d/test.conf')
    made.write('opt/relay.py', (_HERE / 'relay.py').read_text())
    made.write('etc/systemd/system/hub-port.service', RELAY, 0o644)
    made.run('systemctl', 'enable', 'hub-port')


def disk(made: debian.Tree, folder: pathlib.Path) -> pathlib.Path:
    """Return a disk that holds the tree, with kernel and initramfs beside it."""
    for name in ('vmlinuz', 'initrd.img'):
        shutil.copy(next((made.path / 'boot').glob(f'{name}-*')), folder / name)
    path = folder / 'disk.raw'
    make = ['mkfs.ext4', '-q', '-F', '-d', str(made.path), str(path), '2G']
    subprocess.run(make, check=True)
    return path


class Machine(processes.Process):
    """A guest that runs once it is made; its console is its log.

    :param folder: of :func:`disk`; the sockets of the ports are made there.
    :param hub: the hub's socket for this guest.
    :ivar qga: the host's end of the port of qemu-ga's clients.
    :ivar ovirt: the host's end of VDSM's.
    """

    def __init__(self, folder: pathlib.Path, hub: pathlib.Path) -> None:
        self.qga = folder / 'qga.sock'
        self.ovirt = folder / 'ovirt.sock'
        kernel = 'root=/dev/vda rw console=ttyS0 quiet panic=-1'
        # What is logged in the guest is in this log, too.
        kernel += ' systemd.journald.forward_to_console=1'
        super().__init__(
            'guest',
            [
                *('qemu-system-x86_64', '-accel', 'tcg', '-smp', '1', '-m', '512'),
                *('-kernel', folder / 'vmlinuz', '-initrd', folder / 'initrd.img'),
                *('-append', kernel),
                *('-drive', f'file={folder / "disk.raw"},format=raw,if=virtio'),
                *('-display', 'none', '-serial', 'stdio', '-monitor', 'none'),
                *('-nic', 'none', '-no-reboot', '-device', 'virtio-serial-pci'),
                *_port('qga', 'org.qemu.guest_agent.0', _listen(self.qga)),
                *_port('ovirt', 'ovirt-guest-agent.0', _listen(self.ovirt)),
                *_port('hub', 'hub.0', f'path={hub},reconnect=1'),
            ],
            folder / 'console.log',
        )
        self.wait_for(lambda: agents.connects(self.qga), 'QEMU listens')

    def client(self) -> agents.Client:
        """Connect as a client of qemu-ga does, and wait until the agent answers."""
        made = agents.Client(self.qga, LONG)
        made.answers(b'')
        return made


def _listen(path: pathlib.Path) -> str:
    return f'path={path},server=on,wait=off'


def _port(name: str, port: str, end: str) -> list[str]:
    return [
        *('-chardev', f'socket,id={name},{end}'),
        *('-device', f'virtserialport,chardev={name},name={port}'),
    ]
