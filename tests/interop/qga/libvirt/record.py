# SPDX-License-Identifier: Apache-2.0
"""Record what Debian's libvirt says to a guest agent, verb by verb::

    python -m tests.interop.qga.libvirt.record >tests/interop/qga/libvirt/said.json

The agent that answers is a stand-in that knows one good answer for each command, so
that verbs that would end this machine can be recorded too.  Needs root, and the
packages of :data:`guest.PACKAGES`; a minute.
"""

import contextlib
import itertools
import json
import pathlib
import socket
import sys
import tempfile
import threading
import time

from tests.interop.qga.libvirt import guest

#: What virsh is told to do, in this order; the last one never ends here.
VERBS = (
    'domtime vm',
    'domtime vm --now',
    'domtime vm --sync',
    'domhostname vm',
    'domifaddr vm --source agent',
    'domfsinfo vm',
    'guestinfo vm',
    'guestvcpus vm',
    'guestvcpus vm --cpulist 1 --disable',
    'setvcpus vm 1 --guest',
    'domfsfreeze vm',
    'domfsthaw vm',
    'domfsfreeze vm --mountpoint /data --mountpoint /srv',
    'domfsthaw vm',
    'domfstrim vm --minimum 4096',
    'set-user-password vm alice hunter2-fr\u00fchling',
    'set-user-password vm alice $6$hash --encrypted',
    'get-user-sshkeys vm alice',
    'set-user-sshkeys vm alice --file {keys}',
    'set-user-sshkeys vm alice --file {keys} --reset',
    'set-user-sshkeys vm alice --file {keys} --remove',
    'qemu-agent-command vm {{"execute":"guest-ping"}}',
    'qemu-agent-command vm {{"execute":"guest-nothing"}}',
    'dompmsuspend vm mem',
    'reboot vm --mode agent',
    'shutdown vm --mode agent',
)
#: What libvirt hears of from the machine itself: it is reset then.
ENDING = ('dompmsuspend', 'reboot')
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq1 alice@example.org'
CPUS = [
    {'logical-id': 0, 'online': True, 'can-offline': False},
    {'logical-id': 1, 'online': True, 'can-offline': True},
]
DISK = {
    'pci-controller': {'domain': 0, 'bus': 0, 'slot': 4, 'function': 0},
    'bus-type': 'virtio',
    'bus': 0,
    'target': 0,
    'unit': 0,
    'serial': 'data-1',
    'dev': '/dev/vda',
}
NIC = {
    'name': 'eth0',
    'hardware-address': '52:54:00:12:34:56',
    'ip-addresses': [
        {'ip-address': '192.0.2.5', 'ip-address-type': 'ipv4', 'prefix': 24}
    ],
}
ANSWERS = {
    'guest-ping': {},
    'guest-get-time': 1700000000123456789,
    'guest-set-time': {},
    'guest-get-host-name': {'host-name': 'vm'},
    'guest-network-get-interfaces': [NIC],
    'guest-get-fsinfo': [
        {
            'name': 'vda1',
            'mountpoint': '/',
            'type': 'ext4',
            'used-bytes': 1000,
            'total-bytes': 5000,
            'disk': [DISK],
        }
    ],
    'guest-get-users': [{'user': 'alice', 'login-time': 1700000000.5}],
    'guest-get-osinfo': {'id': 'debian', 'pretty-name': 'Debian', 'version-id': '12'},
    'guest-get-timezone': {'zone': 'CET', 'offset': 3600},
    'guest-get-disks': [{'name': '/dev/vda', 'partition': False, 'address': DISK}],
    'guest-get-vcpus': CPUS,
    'guest-set-vcpus': 1,
    'guest-fsfreeze-status': 'thawed',
    'guest-fsfreeze-freeze': 2,
    'guest-fsfreeze-freeze-list': 2,
    'guest-fsfreeze-thaw': 2,
    'guest-fstrim': {'paths': [{'path': '/', 'trimmed': 4096, 'minimum': 4096}]},
    'guest-set-user-password': {},
    'guest-ssh-get-authorized-keys': {'keys': [KEY]},
    'guest-ssh-add-authorized-keys': {},
    'guest-ssh-remove-authorized-keys': {},
}
#: These say nothing when they succeed.
SILENT = ('guest-shutdown', 'guest-suspend-ram')


class Agent:
    """Answers at the host's end of the wire, and keeps what was said.

    :ivar talk: lines as ``['libvirt' or 'agent', text]``.
    """

    def __init__(self, wire: pathlib.Path) -> None:
        self.talk: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(wire))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._socket.makefile('rb') as lines:
            for line in lines:
                self.talk.append(['libvirt', line.decode('latin-1')])
                answer = _answer(json.loads(line))
                if answer is not None:
                    text = json.dumps(answer) + '\n'
                    self.talk.append(['agent', text])
                    self._socket.sendall(text.encode())


def _answer(request: dict) -> dict | None:
    name = request['execute']
    if name == 'guest-sync':
        return {'return': request['arguments']['id']}
    if name in SILENT:
        return None
    if name in ANSWERS:
        return {'return': ANSWERS[name]}
    desc = f'The command {name} has not been found'
    return {'error': {'class': 'CommandNotFound', 'desc': desc}}


def main() -> None:
    """Write the record to standard output."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix='libvirt'))
        folder = pathlib.Path(made)
        keys = folder / 'keys'
        keys.write_text(f'{KEY}\n')
        keys.chmod(0o644)
        vm = guest.Guest(folder)
        stack.callback(vm.stop)
        agent = Agent(vm.wire)
        record, boots = [], itertools.count(2)
        for verb in VERBS:
            words = verb.format(keys=keys).split(' ')
            begin = len(agent.talk)
            if words[0] in ENDING:
                # What virsh waits for comes from the machine, not from the agent.
                reset = ('qemu-monitor-command', 'vm', '--hmp', 'system_reset')
                threading.Timer(2, vm.virsh, reset).start()
            done = vm.virsh(*words, seconds=8)
            time.sleep(0.2)
            record.append(
                {
                    'virsh': verb.format(keys='KEYS'),
                    'exit': done.returncode,
                    'printed': done.stdout.strip(),
                    'talk': list(itertools.islice(agent.talk, begin, None)),
                }
            )
            sys.stderr.write(f'{verb}: {done.returncode}\n')
            if words[0] in ENDING:
                vm.wait_boot(next(boots))
        about = {
            'libvirt': vm.virsh('version').stdout.split('library: ')[1].split('\n')[0]
        }
    json.dump({**about, 'verbs': record}, sys.stdout, indent=1)
    sys.stdout.write('\n')


if __name__ == '__main__':
    main()
