# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that stands before a broker and does to it what networks do."""

import socket
import struct
import threading
import time


class Proxy:
    """Forwards connections to a port of 127.0.0.1, from a port of its own.

    Use it as a context manager.

    :ivar port: where it listens.
    :ivar target: the port behind it; new connections go where it says by then.
    :ivar accepted: how many connections came.
    :ivar latency: seconds by which each piece is late, in either direction.
    :ivar hole: while it is true nothing is forwarded, and connections stay open.
    :ivar budget: how many bytes a connection gets from the broker; ``None``: all.
    :ivar sent: how many bytes have come for the broker.
    :ivar gate: after how many of these all others wait until it is ``None``.
    :ivar reset_next: whether the connection that is the next to send something ends
        with a RST instead; then it is false again.
    :ivar cut: whether a connection that has used its budget ends; otherwise it hangs.
    """

    def __init__(self, target):
        self.target = target
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self.latency = 0.0
        self.hole = False
        self.budget = None
        self.cut = False
        self.reset_next = False
        self.sent = 0
        self.gate = None
        self._open = set()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Wakes the thread in accept(), which close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.gate = None
        self.reset()

    def reset(self):
        """End all connections with a RST."""
        for sock in list(self._open):
            self._reset(sock)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                broker = socket.create_connection(('127.0.0.1', self.target))
            except OSError:
                client.close()
                continue
            self._open |= {client, broker}
            for source, sink, limited in (
                (client, broker, False),
                (broker, client, True),
            ):
                threading.Thread(
                    target=self._pump, args=(source, sink, limited), daemon=True
                ).start()

    def _pump(self, source, sink, limited):
        passed = 0
        try:
            while data := source.recv(65536):
                time.sleep(self.latency)
                if not limited:
                    self._pass(len(data))
                if self.reset_next and not limited:
                    self.reset_next = False
                    self._reset(source)
                    self._reset(sink)
                    return
                if limited and self.budget is not None:
                    data = data[: max(0, self.budget - passed)]
                    passed += len(data)
                if not self.hole and data:
                    sink.sendall(data)
                if limited and self.cut and passed == self.budget:
                    break
        except OSError:
            pass
        self._close(source)
        self._close(sink)

    def _pass(self, size):
        """Wait at the gate."""
        while self.gate is not None and self.sent >= self.gate:
            time.sleep(0.01)
        self.sent += size

    def _reset(self, sock):
        try:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
            )
        except OSError:
            pass  # it has ended by itself
        self._close(sock)

    def _close(self, sock):
        self._open.discard(sock)
        try:
            # The other thread may be waiting in recv() of the same socket.
            sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        sock.close()
