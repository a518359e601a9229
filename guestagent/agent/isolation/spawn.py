# SPDX-License-Identifier: Apache-2.0
"""Make the process of an extension: limited before it runs, its three pipes ours.

The agent makes it itself, or has the launcher do it (:mod:`.launcher`), which has this
module as long as the agent runs: it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

from guestagent.agent import isolation
from guestagent.agent.isolation import limits

# What typing.TYPE_CHECKING is, without typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    #: Starts a process that waits for GO, of its command, its environment and its ends
    #: of the pipes; returns its id.
    Begin = Callable[[list[str], Mapping[str, str], Sequence[int]], int]

#: What a process waits for on its standard input before it becomes the program: by
#: then its limits are set.
GO = b'go\n'

#: As in the module signal, which the launcher does without: it imports enum.
_SIGKILL = 9

_LAUNCH = ('/bin/sh', '-c', 'cd / && read -r go && exec "$@"', 'sh')


class Spawned:
    """A process that runs; the descriptors are the agent's ends, not blocking."""

    __slots__ = ('pid', 'pidfd', 'stderr', 'stdin', 'stdout')

    def __init__(
        self, pid: int, pidfd: int, stdin: int, stdout: int, stderr: int
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr

    @property
    def descriptors(self) -> tuple[int, int, int, int]:
        """All four, in the order in which they are given."""
        return self.pidfd, self.stdin, self.stdout, self.stderr

    def close(self) -> None:
        """Close the descriptors."""
        _close(self.descriptors)


class Child:
    """A process of an extension.

    :ivar pipes: its id and its descriptors.
    """

    def __init__(self, pipes: Spawned, cgroup: limits.Cgroup | None = None) -> None:
        self.pipes = pipes
        self._cgroup = cgroup

    def signal(self, number: int) -> None:
        """Signal it and what it has forked in its session; not after :meth:`wait`."""
        try:
            # Its id is ours until it is waited for, and so is the group's.
            os.killpg(self.pipes.pid, number)
        except PermissionError:
            pass  # it has become another's

    def wait(self) -> tuple[int, bool]:
        """Wait for its end, and end what is left of it.

        :returns: its exit code, or minus the signal; whether its memory was used up.
        """
        _, status = os.waitpid(self.pipes.pid, 0)
        exhausted = False
        if self._cgroup is not None:
            exhausted = self._cgroup.out_of_memory()
            self._cgroup.end()
        return os.waitstatus_to_exitcode(status), exhausted


def start(
    name: str, argv: Sequence[str], bounds: limits.Limits, begin: Begin | None = None
) -> Child:
    """Start a program as the leader of a session.

    :param begin: makes the process; unless given, as the agent's user.
    :raises OSError: the guest is short of what it takes.
    """
    cgroup = limits.make_cgroup(name, bounds)
    variables = environment(name, argv)
    return Child(_spawn(argv, variables, bounds, cgroup, begin or _posix_spawn), cgroup)


def _posix_spawn(
    argv: list[str], environment: Mapping[str, str], pipes: Sequence[int]
) -> int:
    import signal  # the launcher does not come here

    return os.posix_spawn(
        _LAUNCH[0],
        [*_LAUNCH, *argv],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(pipes)
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def _spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    bounds: limits.Limits,
    cgroup: limits.Cgroup | None,
    begin: Begin,
) -> Spawned:
    inner: list[int] = []
    outer: list[int] = []
    try:
        for number in range(3):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            inner.append(writing if number else reading)
            outer.append(reading if number else writing)
            os.set_blocking(outer[-1], False)
        pid = begin(list(argv), environment, inner)
        try:
            outer.insert(0, os.pidfd_open(pid))
            limits.limit(pid, bounds, cgroup)
            os.write(outer[1], GO)
        except OSError:
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
            raise
    except BaseException:
        _close(outer)
        raise
    finally:
        _close(inner)
    return Spawned(pid, *outer)


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as this process would import it."""
    return [*interpreter(), '-m', module, *arguments]


def interpreter() -> list[str]:
    """Return the interpreter with the flags by which it imports as this process."""
    # A packaged agent has -I, which would also forget PYTHONPATH; -P, -s and what the
    # environment does not hold come to the same.
    flags = ['-P']
    if sys.flags.no_site:
        flags.append('-S')
    if sys.flags.no_user_site:
        flags.append('-s')
    return [sys.executable, *flags]


def environment(name: str, argv: Sequence[str]) -> dict[str, str]:
    """Return the variables: what an extension may need, and nothing of the agent's."""
    variables = {
        'PATH': os.environ.get('PATH', os.defpath),
        'LANG': 'C.UTF-8',
        'GUESTAGENT_EXTENSION': name,
        'GUESTAGENT_PROTOCOL': str(isolation.PROTOCOL),
    }
    if argv[0] == sys.executable:
        # What was packaged with the agent is in no place that Python knows by itself.
        variables['PYTHONPATH'] = os.pathsep.join(path for path in sys.path if path)
        if sys.dont_write_bytecode:  # as while the disk is frozen
            variables['PYTHONDONTWRITEBYTECODE'] = '1'
    return variables
