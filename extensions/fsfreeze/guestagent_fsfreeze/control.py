# SPDX-License-Identifier: Apache-2.0
"""Start the process that freezes, and speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

from guestagent import errors
from guestagent_fsfreeze import state

#: The longest message, in bytes.
SIZE_MAX = 128 * 1024
#: Seconds in which the holder takes a message.
PATIENCE = 30.0
#: Where it runs there is this folder.
_SYSTEMD = '/run/systemd/system'
_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'

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
        self._first: Message | None = None

    def send(self, **message: Any) -> None:
        """Say something; nobody may hear it."""
        with contextlib.suppress(OSError):
            self._link.send(json.dumps(message).encode())

    def receive(self) -> Message:
        """Return what it says next.

        :raises Gone: nothing any more.
        """
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            data = self._link.recv(SIZE_MAX)
        except OSError:
            data = b''
        if not data:
            raise Gone
        found: Message = json.loads(data)
        return found

    def wait_first(self) -> None:
        """Wait until it says something, which :meth:`receive` returns.

        :raises Gone: it does not.
        """
        self._first = self.receive()

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
    """Start the holder and give it an order; return when it has heard it.

    :param order: ``{mountpoints, only, never, limit, hooks, hook_timeout}``.
    :raises guestagent.errors.GuestError: it cannot be started.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for scope in (True, False):
            if scope and not _has_systemd():
                continue
            link = _start(folder, scope)
            if link is None:
                continue
            link.send(**order)
            try:
                link.wait_first()
            except Gone:
                link.close()  # systemd may not want it
            else:
                return link
    except OSError as error:
        raise errors.GuestError(
            f'[fsfreeze] folder: {folder}: {error.strerror or error}'
        ) from None
    raise errors.GuestError('the process that freezes has ended at once')


def _start(folder: str, scope: bool) -> Link | None:
    """Start the holder; ``None``: it has ended already."""
    path = os.path.join(folder, state.SOCKET)
    state.remove(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(8)
        process = subprocess.Popen(
            _words(folder, scope),
            stdin=listener.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd='/',
            env={'PATH': _PATH, 'LANG': 'C.UTF-8'},
            start_new_session=True,
        )
    link = connect(folder, process)
    if link is None:
        process.wait()
    return link


def _has_systemd() -> bool:
    return os.path.isdir(_SYSTEMD) and bool(shutil.which('systemd-run', path=_PATH))


def _words(folder: str, scope: bool) -> list[str]:
    holder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'holder.py')
    # No library but Python's own, nothing of the environment, and no compiled form.
    words = [sys.executable, '-I', '-S', '-B', holder, folder]
    if not scope:
        return words
    unit = f'--unit=guestagent-thaw-{time.time_ns()}'
    why = '--description=Thaws the file systems of this guest'
    run = ['systemd-run', '--scope', '--quiet', '--collect', unit, why]
    return [*run, *words, 'scope']


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
