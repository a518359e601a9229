# SPDX-License-Identifier: Apache-2.0
"""Trove's own guest agent: with its files, and as much of Docker as it asks for.

It does not start without a Docker daemon, and asks it while it starts for no more than
its version; a stand-in on a socket says that, and that the server's container is well.
Programs that would make users of this machine do nothing.
"""

import contextlib
import http.server
import json
import pathlib
import socketserver
import threading
from collections.abc import Iterator

from devstack import processes
from tests.interop.trove import guests
from tests.interop.trove import plane as planes

SCRIPT = pathlib.Path(__file__).with_name('trove_guest.py')

#: What it asks of the daemon, without the version in front.
ANSWERS = {
    '/version': {'ApiVersion': '1.44', 'MinAPIVersion': '1.24', 'Version': '25.0.0'},
    '/containers/database/json': {
        'Id': 'database',
        'Name': '/database',
        'State': {'Status': 'running', 'Health': {'Status': 'healthy'}},
    },
}

#: Trove's own device is mounted already: this one is, everywhere.
_CONFIG = """\
[mariadb]
device_path = proc
"""
_CREDENTIALS = """\
[client]
user = os_admin
password = {password}
host = localhost
"""
#: A new user of this machine is not wanted, and who runs this need not be root.
_PROGRAMS = {'groupadd': 'exit 0', 'useradd': 'exit 0', 'sudo': 'exec "$@"'}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the daemon would."""

    def do_GET(self) -> None:
        """Answer from :data:`ANSWERS`, whatever version of the API is asked for."""
        path = self.path
        if path.startswith('/v1.'):
            path = path[path.index('/', 1) :]
        known = path in ANSWERS
        body = json.dumps(ANSWERS.get(path, {'message': f'no {path} here'})).encode()
        self.send_response(200 if known else 404)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """Return who asks: the address of a unix socket has no parts."""
        return 'unix'

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def docker(path: pathlib.Path) -> Iterator[str]:
    """Stand in for a Docker daemon on a socket; give what DOCKER_HOST must be."""
    with socketserver.ThreadingUnixStreamServer(str(path), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f'unix://{path}'
        finally:
            server.shutdown()
            thread.join()


class Reference:
    """An instance of Trove with Trove's own agent in it.

    :param guest: its files, and ours, which does not run there.
    :param socket: of the MariaDB server that it asks.
    :param password: of ``os_admin`` there.
    :param daemon: what DOCKER_HOST is.
    """

    def __init__(
        self, guest: guests.Guest, socket: pathlib.Path, password: str, daemon: str
    ) -> None:
        self._guest = guest
        folder = guest.folder
        (guest.config / 'reference.conf').write_text(_CONFIG)
        (folder / 'volume' / 'conf.d').mkdir(parents=True)
        (folder / 'volume' / 'conf.d' / 'os_admin.cnf').write_text(
            _CREDENTIALS.format(password=password)
        )
        (folder / '.guestagent.prepare.end').touch()
        (folder / 'socket').mkdir()
        (folder / 'socket' / 'mysqld.sock').symlink_to(socket)
        (folder / 'bin').mkdir()
        for name, line in _PROGRAMS.items():
            program = folder / 'bin' / name
            program.write_text(f'#!/bin/sh\n{line}\n')
            program.chmod(0o755)
        self._env = {
            'PATH': f'{folder / "bin"}:/usr/sbin:/usr/bin:/sbin:/bin',
            'LC_ALL': 'C.UTF-8',
            'HOME': str(folder),
            'DOCKER_HOST': daemon,
        }

    def start(self) -> processes.Process:
        """Start it."""
        guest = self._guest
        return processes.Process(
            'trove-guestagent',
            [planes.TROVE / 'bin' / 'python', SCRIPT, guest.folder,
             '--config-dir', guest.config],
            guest.folder / 'reference.log',
            env=self._env,
        )  # fmt: skip
