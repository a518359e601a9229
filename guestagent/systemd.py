# SPDX-License-Identifier: Apache-2.0
"""Tell systemd how a service is: sd_notify(3) without its library.

What systemd passes on in the environment is taken out of it, so that no command that
the service starts can speak in its name.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

LOG = logging.getLogger(__name__)


class Notifier:
    """The socket to the service manager; without one each method does nothing.

    :param environ: where systemd's variables are taken from (and out of).
    :ivar enabled: whether anybody listens.
    :ivar watchdog: within how many seconds :meth:`alive` must be called again and
        again; ``None``: nobody wants that.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop('NOTIFY_SOCKET', '')
        self.watchdog = _watchdog(
            environ.pop('WATCHDOG_USEC', ''), environ.pop('WATCHDOG_PID', '')
        )
        self._socket, self._address = _socket(address)
        self._status = ''
        self.enabled = self._socket is not None

    def ready(self) -> None:
        """The service has started, or has read its configuration again."""
        self._send('READY=1')

    def reloading(self) -> None:
        """The service reads its configuration; :meth:`ready` follows."""
        self._send(f'RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}')

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._send('STOPPING=1')

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send('WATCHDOG=1')

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``; the same line is sent once."""
        line = ' '.join(text.split())
        if line != self._status:
            self._status = line
            self._send(f'STATUS={line}')

    def _send(self, state: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(state.encode(errors='replace'), self._address)
        except OSError as error:
            # Nothing is waited for: a service outlives its manager's restart.
            LOG.warning('systemd was not told %s: %s', state.partition('=')[0], error)


def _socket(address: str) -> tuple[socket.socket | None, str]:
    """Return what to send with, and where to: each time anew, it may be re-made."""
    if not address:
        return None, ''
    if address[0] not in '/@':
        LOG.warning('NOTIFY_SOCKET is no unix socket: %.100r', address)
        return None, ''
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    # "@" stands for the NUL of a name that is in no file system.
    where = '\0' + address[1:] if address[0] == '@' else address
    return socket.socket(socket.AF_UNIX, kind), where


def _watchdog(microseconds: str, pid: str) -> float | None:
    """Return the watchdog's seconds, if they are meant for this process."""
    if pid and pid != str(os.getpid()):
        return None
    try:
        seconds = int(microseconds or 0) / 1e6
    except ValueError:
        LOG.warning('WATCHDOG_USEC is no number: %.100r', microseconds)
        return None
    return seconds if seconds > 0 else None
