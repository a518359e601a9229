# SPDX-License-Identifier: Apache-2.0
"""qemu-ga and guestagent-qga, each with a client that reads all that is answered."""

import contextlib
import itertools
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from devstack import processes

#: Debian's.
QEMU_GA = '/usr/sbin/qemu-ga'
#: Ours, as the environment of the tests has it.
OURS = os.path.join(os.path.dirname(sys.executable), 'guestagent-qga')

_numbers = itertools.count(1000000)


class Client:
    """One connection to an agent.

    :param seconds: for which an answer is waited for.
    """

    def __init__(self, path: pathlib.Path, seconds: float = 180) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._socket.connect(str(path))
        self._read = b''

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line of an answer, without its end."""
        while b'\n' not in self._read:
            self._receive()
        line, _, self._read = self._read.partition(b'\n')
        return line

    def skip_line(self) -> None:
        """Read a line that may be long, and forget it; nothing follows it."""
        while not self._socket.recv(1 << 20).endswith(b'\n'):
            pass

    def answers(self, data: bytes) -> list[Any]:
        """Return all answers to some bytes, which may be no request.

        What they leave behind in the parser is thrown out, as clients do; the error
        that comes of this is among the answers.
        """
        number = next(_numbers)
        end = b'\xff{"return": %d}\n' % number
        sync = {'execute': 'guest-sync-delimited', 'arguments': {'id': number}}
        self.send(data + b'\xff\n' + json.dumps(sync).encode() + b'\n')
        while end not in self._read:
            self._receive()
        found, _, self._read = self._read.partition(end)
        return [_value(line) for line in found.splitlines()]

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """Return the answer to a request: an object with ``return`` or ``error``.

        Underscores in the names of arguments are dashes.
        """
        request: dict[str, Any] = {'execute': command}
        if arguments:
            request['arguments'] = {
                name.replace('_', '-'): value for name, value in arguments.items()
            }
        self.send(json.dumps(request).encode() + b'\n')
        return json.loads(self.line())

    def close(self) -> None:
        """Go away."""
        self._socket.close()

    def _receive(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise EOFError(f'the agent has closed the connection after {self._read!r}')
        self._read += data


def _value(line: bytes) -> Any:
    # What qemu-ga quotes of its input may be cut within a character.
    return json.loads(line.removeprefix(b'\xff'))


@contextlib.contextmanager
def running(
    program: str, folder: pathlib.Path, *options: str, spacing: float = 0.01
) -> Iterator[tuple[processes.Process, pathlib.Path]]:
    """Run an agent on a unix socket in a folder of its own; yield it and the socket."""
    folder.mkdir(exist_ok=True)
    path = folder / 'socket'
    argv = [program, '-m', 'unix-listen', '-p', str(path), '-t', str(folder)]
    agent = processes.Process(
        pathlib.Path(program).name, [*argv, *options], folder / 'log'
    )
    try:
        processes.wait_for(
            lambda: connects(path) or not agent.running,
            'it accepts connections',
            spacing=spacing,
        )
        if not agent.running:
            raise processes.Failed(f'it has ended\n{agent.tail()}')
        yield agent, path
    finally:
        if program == QEMU_GA:
            # It may sleep over a SIGTERM: its loop is told to end, and not woken.
            agent.kill()
        else:
            agent.stop()


def connects(path: pathlib.Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def commands(*requests: tuple[str, dict[str, Any]]) -> Sequence[bytes]:
    """Return lines of requests."""
    return [
        json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n'
        for name, arguments in requests
    ]
