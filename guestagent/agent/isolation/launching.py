# SPDX-License-Identifier: Apache-2.0
"""The agent's side of the launcher, and the start of processes without one."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Sequence
from typing import Any

from guestagent.agent.isolation import limits, spawn

#: The largest request or answer, in bytes.
SIZE_MAX = 4096
#: How many descriptors come with a process: of itself, and of its three pipes.
_DESCRIPTORS = 4


class Line:
    """Asks the launcher; from any thread.

    :param line: a socket of the kind SOCK_SEQPACKET, whose other end it has.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._lock = threading.Lock()

    def start(self, name: str) -> spawn.Child:
        """Return the process of an extension, by the order that the launcher has.

        :raises OSError: it cannot be made, or the launcher has gone.
        """
        answer, fds = self.ask('start', name)
        return _Launched(self, spawn.Spawned(answer['pid'], *fds))

    def ask(self, *request: object) -> tuple[Any, list[int]]:
        """Return an answer, and the descriptors that came with it.

        :raises OSError: the launcher could not do it, or has gone.
        """
        with self._lock:
            self._line.send(json.dumps(request).encode())
            data, fds, _, _ = socket.recv_fds(
                self._line, SIZE_MAX, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        if not data:
            raise ConnectionError('the launcher has gone; start the agent again')
        answer = json.loads(data)
        if 'error' in answer:
            raise OSError(*answer['error'])
        return answer, fds


class _Launched(spawn.Child):
    """A process that is a child of the launcher."""

    def __init__(self, line: Line, pipes: spawn.Spawned) -> None:
        super().__init__(pipes)
        self._line = line

    def signal(self, number: int) -> None:
        """See the base class."""
        with contextlib.suppress(OSError):  # the launcher has gone: its end follows
            self._line.ask('signal', self.pipes.pid, number)

    def wait(self) -> tuple[int, bool]:
        """See the base class."""
        try:
            answer, _ = self._line.ask('wait', self.pipes.pid)
        except OSError:
            return 1, False  # nobody knows any more
        return answer['code'], answer['exhausted']


#: What starts processes of extensions, if the agent does not itself.
_line: Line | None = None


def use(line: Line) -> None:
    """Let the launcher start all processes of extensions from now on."""
    global _line
    _line = line


def start(name: str, argv: Sequence[str], bounds: limits.Limits) -> spawn.Child:
    """Start the process of an extension.

    :raises OSError: the guest is short of what it takes.
    """
    return spawn.start(name, argv, bounds) if _line is None else _line.start(name)
