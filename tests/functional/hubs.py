# SPDX-License-Identifier: Apache-2.0
"""A real hub, and a peer of it that writes exactly what it is told."""

import json
import pathlib
import socket
import time

from devstack import stack
from guestagent.bus import framing

REPORTS = {'exchange': 'guestagent_reports', 'topic': 'guestagent_reports.info'}
GUEST = {'exchange': 'guestagent', 'topic': 'guestagent.vm-1'}
SERVICE = {'exchange': 'openstack', 'topic': 'service'}


class Hub(stack.Hub):
    """A real ``guestagent-hub``; once made, it serves."""

    def rss(self) -> int:
        """Its resident memory in bytes."""
        status = pathlib.Path(f'/proc/{self.pid}/status').read_text()
        line = next(line for line in status.splitlines() if line.startswith('VmRSS'))
        return int(line.split()[1]) * 1024


class Peer:
    """A connection to a hub's socket; a context manager.

    :param role: ``''``: do not say hello.
    """

    def __init__(self, path: pathlib.Path, role: str = 'program') -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.sock.settimeout(60)
        self._decoder = framing.Decoder(2**30)
        self._came: list[framing.Frame] = []
        if role:
            self.send('hello', v=1, role=role, name='test')
            assert self.receive().op == 'hello'

    def __enter__(self) -> 'Peer':
        return self

    def __exit__(self, *_) -> None:
        self.sock.close()

    def send(self, op: str, body: bytes = b'', **header) -> None:
        self.sock.sendall(framing.encode({'op': op, **header}, body))

    def receive(self, seconds: float = 60) -> framing.Frame:
        """Return the next frame.

        :raises TimeoutError: none comes.
        :raises ConnectionError: the hub has closed the connection.
        """
        deadline = time.monotonic() + seconds
        while not self._came:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.sock.recv(2**18)
            if not data:
                raise ConnectionResetError
            self._came += self._decoder.feed(data)
        return self._came.pop(0)

    def wait_closed(self, seconds: float = 60) -> list[framing.Frame]:
        """Return what came before the hub closed the connection."""
        came = []
        try:
            while True:
                came.append(self.receive(seconds))
        except ConnectionError:
            return came

    def silent(self) -> bool:
        """Whether all that the hub has to say was received."""
        self.send('ping')
        return self.receive().op == 'pong'


def report(instance: str, kind: str = 'event') -> bytes:
    """Return a report's body."""
    message = {
        'publisher_id': f'guestagent.{instance}',
        'payload': {'instance': instance, 'kind': kind},
    }
    return json.dumps(
        {'oslo.version': '2.0', 'oslo.message': json.dumps(message)}
    ).encode()


def consume(peer: Peer, number: int = 1, prefetch: int = 10, **address) -> None:
    """Subscribe a program, and wait until it is."""
    peer.send('consume', sub=number, prefetch=prefetch, **address)
    assert peer.receive().op == 'consuming'
