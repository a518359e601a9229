# SPDX-License-Identifier: Apache-2.0
"""Under a real systemd, which kills all of a service at once."""

from __future__ import annotations

import pathlib
import shutil

import guestagent_fsfreeze
import pytest

from devstack import processes
from tests.functional.packages import booted, debian

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: A file system in the tree, whose devices it does not have.
DISK = """
set -e
mknod /dev/loop-control c 10 237
for number in 0 1 2 3 4 5 6 7 8 9; do mknod /dev/loop$number b 7 $number; done
truncate -s 32M /var/disk
mkfs.ext4 -q /var/disk
mkdir /mnt/disk
mount -o loop /var/disk /mnt/disk
"""

#: The agent's part; the tree has no agent.
AGENT = """
import sys, types
sys.path.insert(0, '/opt')
sys.modules['guestagent'] = agent = types.ModuleType('guestagent')
agent.errors = types.SimpleNamespace(GuestError=RuntimeError)
from guestagent_fsfreeze import control

link = control.start('/run/fsfreeze', {
    'mountpoints': None, 'only': ['/mnt/disk'], 'never': [], 'limit': 600,
    'hooks': [], 'hook_timeout': 1,
})
while True:
    if link.receive()['state'] == 'freezing':
        link.send(verb='go')
"""


def test_the_holder_is_in_a_scope_and_outlives_the_service(
    tmp_path: pathlib.Path,
) -> None:
    try:
        tree = debian.make(tmp_path / 'root')
        shutil.copytree(
            guestagent_fsfreeze.__path__[0], tree.path / 'opt/guestagent_fsfreeze'
        )
        tree.write('opt/agent.py', AGENT)
        system = booted.System(tree, tmp_path)
    except debian.Unavailable as error:
        pytest.skip(str(error))
    try:
        try:
            system.run('sh', '-c', DISK)
        except processes.Failed as error:
            pytest.skip(f'no loop device in it: {error}')
        system.run('systemd-run', '--unit=agent', 'python3', '/opt/agent.py')
        show = ('sh', '-c', 'cat /run/fsfreeze/state || true')
        processes.wait_for(lambda: '"frozen"' in system.run(*show), 'it is frozen')

        system.run('systemctl', 'kill', '--signal=KILL', 'agent')
        scopes = ('systemctl', 'list-units', '--plain', 'guestagent-thaw-*.scope')
        assert 'active running' in system.run(*scopes)
        system.run('systemctl', 'kill', 'guestagent-thaw-*.scope')
        system.run('touch', '/mnt/disk/file')  # waits for the thaw

        processes.wait_for(
            lambda: '"by": "signal"' in system.run(*show), 'it is told who has thawed'
        )
        assert system.show('agent', 'ActiveState') == 'failed'
        processes.wait_for(lambda: '0 loaded' in system.run(*scopes), 'the scope ends')
    finally:
        # What is frozen and nowhere mounted could never be thawed again.
        system.run('sh', '-c', 'fsfreeze -u /mnt/disk; umount -l /mnt/disk; true')
        system.stop()
        tree.remove()
