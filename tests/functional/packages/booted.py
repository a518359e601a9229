# SPDX-License-Identifier: Apache-2.0
"""A Debian tree in which a real systemd runs, in namespaces of its own.

It sees no process, no network and no mount of the machine's, and only its own cgroup;
all of that ends with it.
"""

import os
import pathlib
import re
import shutil

from devstack import processes
from tests.functional.packages import debian

#: Enters a cgroup, so that what systemd makes is below that.
_ENTER = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'

#: As containers have it (https://systemd.io/CONTAINER_INTERFACE).
_BOOT = """
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in null zero full random urandom tty; do
    : >"dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
: >dev/console
mount --bind "$1" dev/console
# A service that gets a mount namespace needs a root that is the namespace's own.
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt
    exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=console --log-color=no'
"""

_NAMESPACES = ['--mount', '--pid', '--ipc', '--uts', '--net', '--cgroup']


class System(debian.Tree):
    """A tree that runs once it is made.

    :param tree: with systemd; :meth:`stop` leaves it.
    :param folder: for the console's log.
    :raises guestagent.tests.functional.packages.debian.Unavailable: namespaces or a
        cgroup cannot be had here.
    """

    def __init__(self, tree: debian.Tree, folder: pathlib.Path) -> None:
        super().__init__(tree.path)
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it, again after :meth:`stop`.

        :raises guestagent.tests.functional.packages.debian.Unavailable: as the class.
        """
        folder = self._folder
        self._cgroup = _cgroup()
        console = folder / 'console'
        console.touch()
        self._process = processes.Process(
            'systemd',
            [
                *('sh', '-c', _ENTER, 'sh', str(self._cgroup)),
                *('unshare', *_NAMESPACES, '--fork', '--kill-child'),
                *('sh', '-c', _BOOT, str(self.path), str(console)),
            ],
            folder / 'systemd.log',
        )
        try:
            self._init = self._process.wait_for(self._child, 'systemd is there', 60)
            self._process.wait_for(self._is_up, 'it has started', 180)
        except processes.Failed as error:
            self.stop()
            raise debian.Unavailable(f'{error}\n{console.read_text()}') from None

    def command(self, *argv: str, network: bool = True) -> list[str]:
        """Return the command that runs ``argv`` in it; it never has a network."""
        return ['nsenter', f'--target={self._init}', '--all', '--root', '--', *argv]

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run('systemctl', 'show', '--value', '-p', name, unit).strip()

    def stop(self) -> None:
        """End it and all that runs in it."""
        self._process.kill()
        processes.wait_for(self._remove_cgroup, 'its processes end', 120)

    def _child(self) -> int | None:
        """Return the process id, here, of its first process once that is systemd."""
        tasks = pathlib.Path(f'/proc/{self._process.pid}/task')
        children = (tasks / str(self._process.pid) / 'children').read_text().split()
        for child in children:
            name = pathlib.Path(f'/proc/{child}/comm').read_text()
            if name == 'systemd\n':
                return int(child)
        return None

    def _is_up(self) -> bool:
        try:
            self.run('systemctl', 'is-system-running')
        except processes.Failed as error:
            # There is no terminal for a login: that is all that may be missing.
            return 'degraded' in str(error)
        return True

    def _remove_cgroup(self) -> bool:
        folders = [path for path, _, _ in os.walk(self._cgroup, topdown=False)]
        try:
            for folder in folders:
                os.rmdir(folder)
        except OSError:
            return False
        return True


def _cgroup() -> pathlib.Path:
    """Make a cgroup below this process's own."""
    if shutil.which('nsenter') is None:
        raise debian.Unavailable('nsenter is not installed')
    mounts = pathlib.Path('/proc/self/mounts').read_text()
    found = re.search(r'^\S+ (\S+) cgroup2 (\S+)', mounts, re.MULTILINE)
    own = pathlib.Path('/proc/self/cgroup').read_text()
    line = re.search('^0::/(.*)$', own, re.MULTILINE)
    if found is None or line is None:
        raise debian.Unavailable('there are no cgroups of version 2')
    path = pathlib.Path(found[1], line[1], f'guestagent-test-{os.getpid()}')
    try:
        path.mkdir()
    except OSError as error:
        raise debian.Unavailable(f'no cgroup can be made: {error}') from None
    return path
