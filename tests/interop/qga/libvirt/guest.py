# SPDX-License-Identifier: Apache-2.0
"""A guest under Debian's own libvirt that is nothing but a wire to an agent out here.

Its kernel is Debian's, its only program ``relay.c``.  libvirtd runs as nobody, with all
that it keeps in a temporary folder; the packages it needs are :data:`PACKAGES`.
"""

import os
import pathlib
import shutil
import subprocess
import time

PACKAGES = (
    'libvirt-daemon',
    'libvirt-daemon-driver-qemu',
    'libvirt-clients',
    'qemu-system-x86',
)
NOBODY = 65534
HERE = pathlib.Path(__file__).parent
#: In the order in which the kernel takes them.
MODULES = (
    'virtio/virtio_ring',
    'virtio/virtio',
    'virtio/virtio_pci_legacy_dev',
    'virtio/virtio_pci_modern_dev',
    'virtio/virtio_pci',
    'char/virtio_console',
)
DOMAIN = """
<domain type='qemu'>
  <name>vm</name>
  <memory unit='MiB'>128</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <kernel>{folder}/vmlinuz</kernel>
    <initrd>{folder}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <pm><suspend-to-mem enabled='yes'/></pm>
  <devices>
    <serial type='file'><source path='{folder}/console'/></serial>
    <channel type='unix'>
      <source mode='bind' path='{folder}/agent.sock'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='{folder}/wire.sock'/>
      <target type='virtio' name='wire.0'/>
    </channel>
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Guest:
    """The guest, its libvirtd and ``virsh``; made, it is there.

    :param folder: an empty one, which nobody may read.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.wire = folder / 'wire.sock'
        _build(folder)
        os.chown(folder, NOBODY, NOBODY)
        self._environment = {
            'PATH': os.environ['PATH'],
            'HOME': str(folder),
            'XDG_RUNTIME_DIR': str(folder),
            'XDG_CONFIG_HOME': str(folder / 'config'),
            'XDG_CACHE_HOME': str(folder / 'cache'),
        }
        self._daemon = self._start(['libvirtd'])
        domain = folder / 'domain.xml'
        domain.write_text(DOMAIN.format(folder=folder))
        self._wait(folder / 'libvirt' / 'libvirt-sock')
        self.check('create', str(domain))
        self.wait_boot(1)

    def wait_boot(self, times: int) -> None:
        """Wait until the guest has come up so many times."""
        console = self.folder / 'console'
        until = time.monotonic() + 120
        while not console.exists() or console.read_bytes().count(b'ready') < times:
            if time.monotonic() > until:
                raise SystemExit(f'the guest does not come up: see {console}')
            time.sleep(0.1)

    def virsh(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess:
        """Run virsh and return how it ended; -1 where it took too long."""
        child = self._start(['virsh', '-c', 'qemu:///session', *words])
        try:
            out, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            out, _ = child.communicate()
            return subprocess.CompletedProcess(words, -1, out)
        return subprocess.CompletedProcess(words, child.returncode, out)

    def check(self, *words: str) -> str:
        """Run virsh; return what it printed.

        :raises SystemExit: it failed.
        """
        done = self.virsh(*words)
        if done.returncode:
            raise SystemExit(f'virsh {" ".join(words)}: {done.stdout}')
        return done.stdout

    def stop(self) -> None:
        """End all of it."""
        self.virsh('destroy', 'vm')
        self._daemon.terminate()
        self._daemon.wait(30)

    def _start(self, argv: list[str]) -> subprocess.Popen:
        found = shutil.which(argv[0], path=f'{os.environ["PATH"]}:/usr/sbin')
        if found is None:
            raise SystemExit(f'{argv[0]} is missing; it needs: {" ".join(PACKAGES)}')
        return subprocess.Popen(
            [found, *argv[1:]],
            env=self._environment,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _wait(self, path: pathlib.Path) -> None:
        until = time.monotonic() + 60
        while not path.exists():
            if time.monotonic() > until or self._daemon.poll() is not None:
                raise SystemExit('libvirtd does not come up')
            time.sleep(0.05)


def _build(folder: pathlib.Path) -> None:
    """Make the kernel and the initramfs of the guest."""
    run = {'cwd': folder, 'check': True, 'stdout': subprocess.PIPE, 'text': True}
    depends = subprocess.run(['apt-cache', 'depends', 'linux-image-cloud-amd64'], **run)
    name = depends.stdout.split('Depends: ')[1].split()[0]
    subprocess.run(['apt-get', '-qq', 'download', name], **run)
    package = next(folder.glob('*.deb'))
    subprocess.run(['dpkg-deb', '-x', package, 'kernel'], **run)
    shutil.copy(next(folder.glob('kernel/boot/vmlinuz-*')), folder / 'vmlinuz')
    relay = ['cc', '-O2', '-static', '-o', 'relay', HERE / 'relay.c']
    subprocess.run(relay, **run)
    drivers = next(folder.glob('kernel/lib/modules/*/kernel/drivers'))
    archive = [_entry('init', 0o100755, (folder / 'relay').read_bytes())]
    archive += [_entry('dev', 0o40755), _entry('modules', 0o40755)]
    for module in MODULES:
        file = drivers / f'{module}.ko'
        archive.append(_entry(f'modules/{file.name}', 0o100644, file.read_bytes()))
    archive.append(_entry('TRAILER!!!', 0))
    (folder / 'initrd').write_bytes(b''.join(archive))
    shutil.rmtree(folder / 'kernel')


def _entry(name: str, mode: int, data: bytes = b'') -> bytes:
    """Return an entry of a cpio archive of the form newc."""
    path = name.encode() + b'\0'
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b'070701' + b''.join(b'%08x' % number for number in numbers) + path
    return b''.join(part + b'\0' * (-len(part) % 4) for part in (head, data))
