# SPDX-License-Identifier: Apache-2.0
"""A socket to which clients connect, as many as there are."""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import MutableMapping

from guestagent import loop as loops
from guestagent_qga import guest as guests
from guestagent_qga import session
from guestagent_qga.transports import connection

LOG = logging.getLogger(__name__)

#: More clients than these wait until another has gone.
CLIENTS_MAX = 64
#: The number of the host in an address of vsock.
_HOST = 2
#: The first descriptor that systemd passes on.
_FIRST_PASSED = 3


class Listener:
    """Serves each client by itself: half a request of one is nothing to another.

    :param sock: bound, and listening.
    :param path: a unix socket to be removed in the end; ``''``: none.
    """

    def __init__(
        self,
        loop: loops.Loop,
        sock: socket.socket,
        guest: guests.Guest,
        work: session.Work,
        path: str = '',
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._guest = guest
        self._work = work
        self._path = path
        self._clients: set[connection.Connection] = set()
        self._listening = False
        self._stopping = False
        self.problem = ''

    @property
    def is_idle(self) -> bool:
        """Whether each request has its answer."""
        return all(client.is_idle for client in self._clients)

    def start(self) -> None:
        """Take clients from now on."""
        self._sock.setblocking(False)
        self._listen()

    def pause(self) -> None:
        """Take no more requests."""
        self._stopping = True
        self._listen()
        for client in self._clients:
            client.pause()

    def stop(self) -> None:
        """Close everything."""
        self.pause()
        while self._clients:
            self._clients.pop().close()
        self._sock.close()
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass

    def _listen(self) -> None:
        wanted = not self._stopping and len(self._clients) < CLIENTS_MAX
        if wanted and not self._listening:
            self._loop.watch(self._sock.fileno(), loops.READ, self._accept)
        elif self._listening and not wanted:
            self._loop.unwatch(self._sock.fileno())
        self._listening = wanted

    def _accept(self, _events: int) -> None:
        try:
            sock, address = self._sock.accept()
        except OSError as error:
            # Its client has gone again, or there is no descriptor left for it.
            LOG.debug('accept: %s', error)
            return
        if self._sock.family == socket.AF_VSOCK and address[0] != _HOST:
            # Any user of the guest may connect to it, by the loopback of vsock.
            LOG.debug('refused: %s is not the host', address)
            sock.close()
            return
        made: list[connection.Connection] = []

        def closed(error: OSError | None) -> None:
            self._clients.discard(made[0])
            made[0].close()
            self._listen()

        client = connection.Connection(
            self._loop, sock.detach(), self._guest, self._work, closed, drains=True
        )
        made.append(client)
        self._clients.add(client)
        self._listen()


def listen_unix(path: str) -> socket.socket:
    """Return a socket at a path; one that was left behind there is replaced.

    :raises OSError: it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        except FileNotFoundError:
            pass
        # Who connects counts as the host, whatever the umask.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def listen_vsock(address: str) -> socket.socket:
    """Return a socket of AF_VSOCK at ``<cid>:<port>``.

    :raises ValueError: that is no address.
    :raises OSError: it cannot be made.
    """
    cid, colon, port = address.rpartition(':')
    if not colon:
        raise ValueError(f"error parsing address '{address}'")
    try:
        where = int(cid), int(port)
    except ValueError:
        raise ValueError(f"error parsing address '{address}'") from None
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        sock.bind(where)
        sock.listen()
    except (OSError, OverflowError) as error:
        sock.close()
        raise OSError(f'Failed to bind socket to {address}: {error}') from None
    return sock


def passed_socket(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the socket that systemd passes on, if it does.

    :param environ: the variables that say so are taken out of it.
    :raises ValueError: it passes on anything else.
    """
    pid, count = environ.pop('LISTEN_PID', ''), environ.pop('LISTEN_FDS', '')
    environ.pop('LISTEN_FDNAMES', None)
    if pid != str(os.getpid()) or not count:
        return None
    if count != '1':
        raise ValueError(f'systemd passes on {count} sockets, and one is expected')
    sock = socket.socket(fileno=_FIRST_PASSED)
    if sock.family not in (socket.AF_UNIX, socket.AF_VSOCK):
        raise ValueError('the socket from systemd is neither a unix nor a vsock socket')
    os.set_inheritable(_FIRST_PASSED, False)
    return sock
