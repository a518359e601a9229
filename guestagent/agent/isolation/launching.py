# SPDX-License-Identifier: Apache-2.0
"""The agent's side of the launcher, and the start of processes without one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence

from guestagent.agent.isolation import launcher, limits, spawn

#: Not -m, for which Python imports half a mebibyte.
_PROGRAM = f'from {launcher.__name__} import main; main()'

#: What the launcher passes over: the agent is who ends it, by its own end.
_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How many descriptors come with a process: of itself, and of its three pipes.
_DESCRIPTORS = 4


def begin(orders: Mapping[str, launcher.Order]) -> Line:
    """Start the launcher; return the agent's line to it.

    There must be no other thread.

    :raises OSError: the guest is short of what it takes.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    numbers = str(theirs.fileno()), str(len(orders))
    argv = [*spawn.interpreter(), '-c', _PROGRAM, *numbers]
    if not os.fork():
        try:
            for number in _DEAF:
                signal.signal(number, signal.SIG_IGN)
            os.set_inheritable(theirs.fileno(), True)
            os.execve(argv[0], argv, spawn.environment('', argv))
        finally:
            os._exit(127)
    theirs.close()
    for name, order in orders.items():
        ours.send(order.pack(name))
    return Line(ours)


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
        (pid,), fds = self.ask('start', name)
        return _Launched(self, spawn.Spawned(int(pid), *fds))

    def ask(self, *request: object) -> tuple[list[str], list[int]]:
        """Return the fields of an answer, and the descriptors that came with it.

        :raises OSError: the launcher could not do it, or has gone.
        """
        with self._lock:
            self._line.send(launcher.pack(*request))
            data, fds, _, _ = socket.recv_fds(
                self._line, launcher.SIZE_MAX, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        if not data:
            raise ConnectionError('the launcher has gone; start the agent again')
        verdict, *fields = launcher.unpack(data)
        if verdict == launcher.FAILED:
            raise OSError(int(fields[0]), fields[1])
        return fields, fds


class _Launched(spawn.Child):
    """A process that is a child of the launcher."""

    def __init__(self, line: Line, pipes: spawn.Spawned) -> None:
        super().__init__(pipes)
        self._line = line

    def signal(self, number: int) -> None:
        """See the base class."""
        with contextlib.suppress(OSError):  # the launcher has gone: its end follows
            # As a number, which an enumeration's text is not in each Python.
            self._line.ask('signal', self.pipes.pid, int(number))

    def wait(self) -> tuple[int, bool]:
        """See the base class."""
        try:
            (code, exhausted), _ = self._line.ask('wait', self.pipes.pid)
        except OSError:
            return 1, False  # nobody knows any more
        return int(code), bool(int(exhausted))


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
