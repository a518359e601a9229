# SPDX-License-Identifier: Apache-2.0
"""A real Swift in a temporary folder on private ports, with one replica on one device.

Its folder must be on a file system with extended attributes (ext4, xfs, btrfs; tmpfs
of a kernel from 6.6 on).
"""

import getpass
import http.client
import os
import pathlib
import shutil
import subprocess

from devstack import processes

_PROGRAMS = ('account', 'container', 'object')

#: The one that Swift is installed for.
_PYTHON = '/usr/bin/python3'

#: In one process what takes swift-ring-builder three for each ring.
_MAKE_RINGS = """
import sys
from swift.common.ring import RingBuilder

for argument in sys.argv[1:]:
    path, port = argument.rsplit('=', 1)
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'weight': 1.0, 'device': 'd1',
                     'ip': '127.0.0.1', 'port': int(port)})
    builder.rebalance()
    builder.get_ring().save(path + '.ring.gz')
"""

_COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
log_level = WARNING
# Of a machine that runs much else at once.
conn_timeout = 10
node_timeout = 30
"""

_SERVER = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
allow_versions = true
"""

_PROXY = """
[pipeline:main]
pipeline = catch_errors cache tempauth copy slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 30
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {password} .admin
user_other_tester = {password} .admin

[filter:copy]
use = egg:swift#copy

[filter:slo]
use = egg:swift#slo
# Few, so that tests come to the end of them.
max_manifest_segments = 20

[filter:dlo]
use = egg:swift#dlo
"""


class Swift:
    """It runs when it is made.

    :param folder: for everything that it writes; made if it is not there.
    :ivar port: of the proxy, on 127.0.0.1.
    :raises devstack.processes.Failed: it is not installed, or does not answer.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        for program in ('swift-proxy-server', 'swift-object-server', 'memcached'):
            if shutil.which(program) is None:
                raise processes.Failed(
                    'Swift is not installed: apt-get install swift-proxy '
                    'swift-account swift-container swift-object memcached'
                )
        self._folder = folder
        self.port = processes.free_port()
        self._ports = {name: processes.free_port() for name in _PROGRAMS}
        self._memcached = processes.free_port()
        self._password = os.urandom(8).hex()
        self._children: dict[str, processes.Process] = {}
        (folder / 'devices' / 'd1').mkdir(parents=True)
        self._configure()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def token(self, account: str = 'test') -> tuple[str, str]:
        """Log in; return the account's URL and a token.

        :raises devstack.processes.Failed: Swift does not let the user in.
        """
        line = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            line.request(
                'GET',
                '/auth/v1.0',
                headers={
                    'X-Auth-User': f'{account}:tester',
                    'X-Auth-Key': self._password,
                },
            )
            answer = line.getresponse()
            if answer.status != 200:
                raise processes.Failed(f'Swift: {answer.status} {answer.reason}')
            return answer.headers['X-Storage-Url'], answer.headers['X-Auth-Token']
        finally:
            line.close()

    def kill(self, name: str) -> None:
        """End one of its servers, such as ``proxy``, as a crash would."""
        self._children.pop(name).kill()

    def start(self, name: str) -> None:
        """Start one that was killed, and wait until it answers."""
        self._launch(name)
        self._wait(name)

    def limit(self, reserve: str) -> None:
        """Take no more than leaves this much of the disk free, such as ``100%``: it is
        full then.
        """
        path = self._folder / 'object.conf'
        lines = path.read_text().splitlines()
        kept = [line for line in lines if not line.startswith('fallocate_reserve')]
        at = kept.index('[DEFAULT]') + 1
        kept.insert(at, f'fallocate_reserve = {reserve}')
        path.write_text('\n'.join([*kept, '']))
        self.kill('object')
        self.start('object')

    def stop(self) -> None:
        """End it; what it holds stays in the folder."""
        while self._children:
            self._children.popitem()[1].kill()

    def _configure(self) -> None:
        folder = self._folder
        (folder / 'swift.conf').write_text(
            f'[swift-hash]\nswift_hash_path_suffix = {os.urandom(8).hex()}\n'
            '[storage-policy:0]\nname = one\ndefault = yes\n'
        )
        self._make_rings()
        values = {'user': getpass.getuser(), 'folder': folder}
        for name, port in self._ports.items():
            (folder / f'{name}.conf').write_text(
                (_COMMON + _SERVER).format(name=name, port=port, **values)
            )
        (folder / 'proxy.conf').write_text(
            (_COMMON + _PROXY).format(
                port=self.port,
                memcached=self._memcached,
                password=self._password,
                **values,
            )
        )

    def _make_rings(self) -> None:
        rings = [f'{self._folder / name}={port}' for name, port in self._ports.items()]
        done = subprocess.run(
            [_PYTHON, '-c', _MAKE_RINGS, *rings], capture_output=True, text=True
        )
        if done.returncode:
            raise processes.Failed(f'no rings for Swift: {done.stderr}')

    def _start(self) -> None:
        names = ('memcached', *_PROGRAMS, 'proxy')
        for name in names:
            self._launch(name)
        for name in names[1:]:
            self._wait(name)

    def _launch(self, name: str) -> None:
        argv: list[str | pathlib.Path] = [
            f'swift-{name}-server',
            self._folder / f'{name}.conf',
            '-v',
        ]
        if name == 'memcached':
            argv = [
                'memcached',
                *('-l', '127.0.0.1', '-p', str(self._memcached), '-m', '8', '-t', '1'),
                *('-u', getpass.getuser()),
            ]
        self._children[name] = processes.Process(
            name, argv, self._folder / f'{name}.log'
        )

    def _wait(self, name: str) -> None:
        """Wait until a server answers."""
        child = self._children[name]
        if name == 'proxy':
            child.wait_for(self._answers, 'Swift answers', 120)
        else:
            child.wait_port(self._ports[name])

    def _answers(self) -> bool:
        try:
            return bool(self.token())
        except (OSError, http.client.HTTPException, processes.Failed):
            return False
