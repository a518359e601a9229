# SPDX-License-Identifier: Apache-2.0
"""Make the process of an extension: limited before it runs, its three pipes ours.

The agent makes it itself, or has the launcher do it (:mod:`.launcher`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from guestagent.agent.isolation import limits, stdio

#: What a process waits for on its standard input before it becomes the program: by
#: then its limits are set.
GO = b'go\n'

_LAUNCH = ('/bin/sh', '-c', 'cd / && read -r go && exec "$@"', 'sh')


class Spawned(NamedTuple):
    """A process that runs; the descriptors are the agent's ends, not blocking."""

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self[1:]:
            os.close(fd)


#: Starts a process that waits for GO, of its command, its environment and its ends of
#: the pipes; returns its id.
Begin = Callable[[list[str], Mapping[str, str], Sequence[int]], int]


class Child:
    """A process of an extension.

    :ivar pipes: its id and its descriptors.
    """

    def __init__(self, pipes: Spawned, cgroup: limits.Cgroup | None = None) -> None:
        self.pipes = pipes
        self._cgroup = cgroup

    def signal(self, number: int) -> None:
        """Signal it and what it has forked in its session; not after :meth:`wait`."""
        # Its id is ours until it is waited for, and so is the group's.
        with contextlib.suppress(PermissionError):  # it has become another's
            os.killpg(self.pipes.pid, number)

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
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        inner, outer = [], []
        for number in range(3):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            inner.append(writing if number else reading)
            outer.append(reading if number else writing)
            theirs.callback(os.close, inner[-1])
            ours.callback(os.close, outer[-1])
            os.set_blocking(outer[-1], False)
        pid = begin(list(argv), environment, inner)
        try:
            pidfd = os.pidfd_open(pid)
            ours.callback(os.close, pidfd)
            limits.limit(pid, bounds, cgroup)
            os.write(outer[0], GO)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        ours.pop_all()
        return Spawned(pid, pidfd, *outer)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as this process would import it."""
    # A packaged agent has -I, which would also forget PYTHONPATH; -P, -s and what the
    # environment does not hold come to the same.
    flags = ['-P']
    if sys.flags.no_site:
        flags.append('-S')
    if sys.flags.no_user_site:
        flags.append('-s')
    return [sys.executable, *flags, '-m', module, *arguments]


def environment(name: str, argv: Sequence[str]) -> dict[str, str]:
    """Return the variables: what an extension may need, and nothing of the agent's."""
    variables = {
        'PATH': os.environ.get('PATH', os.defpath),
        'LANG': 'C.UTF-8',
        'GUESTAGENT_EXTENSION': name,
        'GUESTAGENT_PROTOCOL': str(stdio.PROTOCOL),
    }
    if argv[0] == sys.executable:
        # What was packaged with the agent is in no place that Python knows by itself.
        variables['PYTHONPATH'] = os.pathsep.join(path for path in sys.path if path)
        if sys.dont_write_bytecode:  # as while the disk is frozen
            variables['PYTHONDONTWRITEBYTECODE'] = '1'
    return variables
