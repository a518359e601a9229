# SPDX-License-Identifier: Apache-2.0
"""The small part of an agent that stays root, where the agent is not.

It is started before the agent becomes another user, as a program of its own: a fork
would keep the agent's memory for ever.  It starts the processes of the extensions that
the configuration named then, each as its own user and with what the configuration says
of it; signals them; and waits for them.  Once it has its orders, which come first, it
takes nothing from the agent but an extension's name, and the id of a process that it
has started.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from guestagent.agent.isolation import launching, limits, spawn

_MODULE = 'guestagent.agent.isolation.launcher'

#: The largest order, in bytes: the program of an extension, with its arguments.
_ORDER_MAX = 256 * 1024
#: What it passes over: the agent is who ends it, by its own end.
_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Account(NamedTuple):
    """A user, by numbers."""

    uid: int
    gid: int
    groups: Sequence[int]

    def assume(self) -> None:
        """Become this user, for good.

        :raises OSError: this process may not.
        """
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


class Order(NamedTuple):
    """How an extension is run."""

    argv: Sequence[str]
    bounds: limits.Limits
    account: Account


def begin(orders: Mapping[str, Order]) -> launching.Line:
    """Start the launcher; return the agent's line to it.

    There must be no other thread.

    :raises OSError: the guest is short of what it takes.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = spawn.python(_MODULE, str(theirs.fileno()), str(len(orders)))
    if not os.fork():
        try:
            for number in _DEAF:
                signal.signal(number, signal.SIG_IGN)
            os.set_inheritable(theirs.fileno(), True)
            os.execve(argv[0], argv, spawn.environment(_MODULE, argv))
        finally:
            os._exit(127)
    theirs.close()
    for name, order in orders.items():
        ours.send(json.dumps([name, *order]).encode())
    return launching.Line(ours)


def main(fd: int, count: int) -> None:
    """Be the launcher, on the other end of the line.

    :param count: how many orders come first.
    """
    line = socket.socket(fileno=fd)
    line.set_inheritable(False)
    orders = {}
    for _ in range(count):
        name, argv, bounds, account = json.loads(line.recv(_ORDER_MAX))
        orders[name] = Order(argv, limits.Limits(*bounds), Account(*account))
    Launcher(line, orders).serve()


class Launcher:
    """Does what it is asked until the agent has gone; in its own process."""

    def __init__(self, line: socket.socket, orders: Mapping[str, Order]) -> None:
        self._line = line
        self._orders = orders
        self._children: dict[int, spawn.Child] = {}

    def serve(self) -> None:
        """Answer requests until the line ends."""
        while data := self._line.recv(launching.SIZE_MAX):
            fds: Sequence[int] = ()
            try:
                answer, fds = self._do(json.loads(data))
            except OSError as error:
                answer = {'error': [error.errno or 0, error.strerror or str(error)]}
            except (ValueError, LookupError, TypeError) as error:
                answer = {'error': [0, f'no such request: {error}']}
            socket.send_fds(self._line, [json.dumps(answer).encode()], fds)
            for fd in fds[1:]:
                os.close(fd)

    def _do(self, request: Any) -> tuple[dict[str, Any], Sequence[int]]:
        verb, about, *rest = request
        if verb == 'start':
            return self._start(about)
        child = self._children[about]
        if verb == 'signal':
            child.signal(rest[0])
            return {}, ()
        if verb == 'wait':
            del self._children[about]
            os.close(child.pipes.pidfd)
            code, exhausted = child.wait()
            return {'code': code, 'exhausted': exhausted}, ()
        raise ValueError(verb)

    def _start(self, name: str) -> tuple[dict[str, Any], Sequence[int]]:
        order = self._orders[name]
        begin = functools.partial(_fork, order.account)
        child = spawn.start(name, order.argv, order.bounds, begin)
        self._children[child.pipes.pid] = child
        # Our ends of the pipes are the agent's now.
        return {'pid': child.pipes.pid}, child.pipes[1:]


def _fork(
    account: Account,
    argv: list[str],
    environment: Mapping[str, str],
    pipes: Sequence[int],
) -> int:
    """Start a process as another user; this one has no other thread."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number, fd in enumerate(pipes):
            os.dup2(fd, number)
        for number in (*_DEAF, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir('/')
        # Not before: who is root in a container only may not limit another user's
        # process.
        if os.read(0, len(spawn.GO)) == spawn.GO:
            account.assume()
            os.execve(argv[0], argv, environment)
    except OSError as error:
        text = f'{argv[0]} as user {account.uid}: {error.strerror}\n'
        os.write(2, text.encode())
    finally:
        os._exit(127)


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]))
