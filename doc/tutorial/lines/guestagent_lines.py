# SPDX-License-Identifier: Apache-2.0
"""Answer lines that name a command, on a unix socket."""

import json
import socket

from oslo_config import cfg

from guestagent import channel
from guestagent import loop as loops


class Lines(channel.Channel):
    """``uptime.read`` and a newline: its result comes back as a line of JSON."""

    options = (cfg.StrOpt('path', default='/run/lines', help='The socket.'),)

    def start(self) -> None:
        """Listen."""
        self._clients: dict[int, socket.socket] = {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.conf.path)
        self._socket.listen()
        self._socket.setblocking(False)
        self.host.loop.watch(self._socket.fileno(), loops.READ, self._accept)

    def pause(self) -> None:
        """Take no more requests."""
        self.host.loop.unwatch(self._socket.fileno())
        for descriptor in self._clients:
            self.host.loop.unwatch(descriptor)

    def stop(self) -> None:
        """Let go of all sockets."""
        for client in [self._socket, *self._clients.values()]:
            client.close()

    def _accept(self, _events: int) -> None:
        client, _ = self._socket.accept()
        descriptor = client.fileno()
        self._clients[descriptor] = client
        self.host.loop.watch(
            descriptor, loops.READ, lambda _events: self._read(descriptor)
        )

    def _read(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        # A line is short enough to come in one piece.
        line = client.recv(4096).decode(errors='replace').strip()
        if not line:
            self.host.loop.unwatch(descriptor)
            del self._clients[descriptor]
            client.close()
            return

        def answer(result: object, error: BaseException | None) -> None:
            text = json.dumps(result if error is None else {'error': str(error)})
            self.host.loop.call_soon(client.sendall, f'{text}\n'.encode())

        namespace, _, method = line.partition('.')
        self.host.submit(namespace, method, {}, answer)
