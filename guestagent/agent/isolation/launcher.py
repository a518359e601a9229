# SPDX-License-Identifier: Apache-2.0
"""The small part of an agent that stays root, where the agent is not.

It is forked before the agent becomes another user.  It starts the processes of the
extensions that the configuration named then, each as its own user and with what the
configuration says of it; signals them; and waits for them.  It takes nothing from the
agent but an extension's name, and the id of a process that it has started.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from guestagent.agent.isolation import launching, limits, spawn

LOG = logging.getLogger(__name__)

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


def fork(orders: Mapping[str, Order]) -> launching.Line:
    """Fork the launcher; return the agent's line to it.

    There must be no other thread.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return launching.Line(ours)
    try:
        ours.close()
        for number in _DEAF:
            signal.signal(number, signal.SIG_IGN)
        Launcher(theirs, orders).serve()
    except Exception:
        LOG.exception('the launcher failed')
    finally:
        os._exit(0)


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
