# SPDX-License-Identifier: Apache-2.0
"""Start the process that freezes, and speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

from guestagent import errors
from guestagent_fsfreeze import state

#: The longest message, in bytes.
SIZE_MAX = 128 * 1024
#: Seconds in which the holder takes a message.
PATIENCE = 30.0

Message = dict[str, Any]


class Gone(Exception):
    """The holder has ended without a word."""


class Link:
    """A connection to the holder."""

    def __init__(
        self, link: socket.socket, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._link = link
        self._process = process

    def send(self, **message: Any) -> None:
        """Say something; nobody may hear it."""
        with contextlib.suppress(OSError):
            self._link.send(json.dumps(message).encode())

    def receive(self) -> Message:
        """Return what it says next.

        :raises Gone: nothing any more.
        """
        try:
            data = self._link.recv(SIZE_MAX)
        except OSError:
            data = b''
        if not data:
            raise Gone
        found: Message = json.loads(data)
        return found

    def shut(self) -> None:
        """Have who waits for a message get none any more."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it, and of the process if it has ended."""
        self._link.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)


def start(folder: str, order: Message) -> Link:
    """Start the holder and give it an order.

    :param order: ``{mountpoints, never, limit, hooks, hook_timeout}``.
    :raises guestagent.errors.GuestError: it cannot be started.
    """
    path = os.path.join(folder, state.SOCKET)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        state.remove(folder)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(8)
            process = _spawn(folder, listener)
    except OSError as error:
        raise errors.GuestError(
            f'[fsfreeze] folder: {folder}: {error.strerror or error}'
        ) from None
    link = connect(folder, process)
    if link is None:
        raise errors.GuestError('the process that freezes has ended at once')
    link.send(**order)
    return link


def _spawn(folder: str, listener: socket.socket) -> subprocess.Popen[bytes]:
    holder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'holder.py')
    return subprocess.Popen(
        # No library but Python's own, no environment, and no compiled form.
        [sys.executable, '-I', '-S', '-B', holder, folder],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd='/',
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8'},
        start_new_session=True,
    )


def connect(folder: str, process: subprocess.Popen[bytes] | None = None) -> Link | None:
    """Return a connection to the holder that runs; ``None``: there is none.

    :param process: its process, if it is ours.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(PATIENCE)
    try:
        link.connect(os.path.join(folder, state.SOCKET))
    except OSError:
        link.close()
        return None
    link.settimeout(None)
    return Link(link, process)
