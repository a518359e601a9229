# SPDX-License-Identifier: Apache-2.0
"""The small part of an agent that stays root, where the agent is not.

It is started before the agent becomes another user, as a program of its own: a fork
would keep the agent's memory for ever.  It starts the processes of the extensions that
the configuration named then, each as its own user and with what the configuration says
of it; signals them; and waits for them.  Once it has its orders, which come first, it
takes nothing from the agent but an extension's name, and the id of a process that it
has started.

It is there as long as the agent, so it imports next to nothing: an interpreter with
json, typing and socket would take half as much again.
"""

from __future__ import annotations

# What the module socket is made of: that one imports enum and selectors.
import _socket
import os
import sys

from guestagent.agent.isolation import limits, spawn

# What typing.TYPE_CHECKING is, without typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The largest request or answer, and order (the program of an extension, with its
#: arguments), in bytes.
SIZE_MAX, ORDER_MAX = 4096, 256 * 1024
#: How an answer begins.
DONE, FAILED = 'done', 'failed'

_DESCRIPTOR_BYTES = 4


class Account:
    """A user, by numbers."""

    __slots__ = ('gid', 'groups', 'uid')

    def __init__(self, uid: int, gid: int, groups: Sequence[int]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups

    def assume(self) -> None:
        """Become this user, for good.

        :raises OSError: this process may not.
        """
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


class Order:
    """How an extension is run."""

    __slots__ = ('account', 'argv', 'bounds')

    def __init__(
        self, argv: Sequence[str], bounds: limits.Limits, account: Account
    ) -> None:
        self.argv = argv
        self.bounds = bounds
        self.account = account

    def pack(self, name: str) -> bytes:
        """Return the message that orders this for an extension."""
        bounds, account = self.bounds, self.account
        return pack(
            name,
            *(bounds.memory, bounds.cpu, bounds.cpu_time, bounds.files),
            *(account.uid, account.gid, ','.join(map(str, account.groups))),
            *self.argv,
        )

    @classmethod
    def unpack(cls, data: bytes) -> tuple[str, Order]:
        """Return the extension's name and the order of a message."""
        name, *numbers = unpack(data)
        memory, cpu, cpu_time, files, uid, gid = map(int, numbers[:6])
        groups = [int(each) for each in numbers[6].split(',') if each]
        bounds = limits.Limits(memory, cpu, cpu_time, files)
        return name, cls(numbers[7:], bounds, Account(uid, gid, groups))


def pack(*fields: object) -> bytes:
    """Return a message: the fields with NUL, which no argument has, between them."""
    return os.fsencode('\0'.join(map(str, fields)))


def unpack(data: bytes) -> list[str]:
    """Return the fields of a message."""
    return os.fsdecode(data).split('\0')


def main() -> None:
    """Be the launcher: on the other end of a line, from which so many orders come.

    Both are numbers, and the arguments of the program.
    """
    fd, count = map(int, sys.argv[1:])
    os.set_inheritable(fd, False)
    line = _socket.socket(fileno=fd)
    orders = dict(Order.unpack(line.recv(ORDER_MAX)) for _ in range(count))
    Launcher(line, orders).serve()


class Launcher:
    """Does what it is asked until the agent has gone; in its own process."""

    def __init__(self, line: _socket.socket, orders: Mapping[str, Order]) -> None:
        self._line = line
        self._orders = orders
        self._children: dict[int, spawn.Child] = {}

    def serve(self) -> None:
        """Answer requests until the line ends."""
        while data := self._line.recv(SIZE_MAX):
            values: Sequence[object] = ()
            fds: Sequence[int] = ()
            verdict = DONE
            try:
                values, fds = self._do(*unpack(data))
            except OSError as error:
                verdict = FAILED
                values = error.errno or 0, error.strerror or error
            except (ValueError, LookupError, TypeError, OverflowError) as error:
                verdict, values = FAILED, (0, f'no such request: {error}')
            self._answer(pack(verdict, *values), fds)
            for fd in fds[1:]:
                os.close(fd)

    def _answer(self, data: bytes, fds: Sequence[int]) -> None:
        rights = b''.join(fd.to_bytes(_DESCRIPTOR_BYTES, sys.byteorder) for fd in fds)
        about = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        self._line.sendmsg([data], about)

    def _do(
        self, verb: str, about: str, *rest: str
    ) -> tuple[Sequence[object], Sequence[int]]:
        if verb == 'start':
            return self._start(about)
        pid = int(about)
        child = self._children[pid]
        if verb == 'signal':
            child.signal(int(rest[0]))
            return (), ()
        if verb == 'wait':
            del self._children[pid]
            os.close(child.pipes.pidfd)
            code, exhausted = child.wait()
            return (code, int(exhausted)), ()
        raise ValueError(verb)

    def _start(self, name: str) -> tuple[Sequence[object], Sequence[int]]:
        order = self._orders[name]

        def begin(
            argv: list[str], environment: Mapping[str, str], pipes: Sequence[int]
        ) -> int:
            return _fork(order.account, argv, environment, pipes)

        child = spawn.start(name, order.argv, order.bounds, begin)
        self._children[child.pipes.pid] = child
        # Our ends of the pipes are the agent's now.
        return (child.pipes.pid,), child.pipes.descriptors


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
        import signal  # not in the process that stays

        os.setsid()
        for number, fd in enumerate(pipes):
            os.dup2(fd, number)
        # What the launcher passes over, and what its interpreter does.
        for each in (
            *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
            *(signal.SIGPIPE, signal.SIGXFSZ),
        ):
            signal.signal(each, signal.SIG_DFL)
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
