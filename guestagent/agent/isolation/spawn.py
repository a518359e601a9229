# SPDX-License-Identifier: Apache-2.0
"""Make the process of an extension: limited before it runs, its three pipes ours."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from guestagent.agent.isolation import limits, stdio

#: Waits for a line, by which time its limits are set, and becomes the program.
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


def spawn(
    name: str, argv: Sequence[str], bounds: limits.Limits, cgroup: limits.Cgroup | None
) -> Spawned:
    """Start a program as the leader of a session.

    :raises OSError: the guest is short of what it takes.
    """
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        inner, outer = [], []
        for number in range(3):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            inner.append(writing if number else reading)
            outer.append(reading if number else writing)
            theirs.callback(os.close, inner[-1])
            ours.callback(os.close, outer[-1])
            os.set_blocking(outer[-1], False)
        pid = os.posix_spawn(
            _LAUNCH[0],
            [*_LAUNCH, *argv],
            _environment(name, argv),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(inner)
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        try:
            pidfd = os.pidfd_open(pid)
            ours.callback(os.close, pidfd)
            limits.limit(pid, bounds, cgroup)
            os.write(outer[0], b'go\n')
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


def _environment(name: str, argv: Sequence[str]) -> dict[str, str]:
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
    return variables
