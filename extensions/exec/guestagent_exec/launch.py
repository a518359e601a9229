# SPDX-License-Identifier: Apache-2.0
"""Start a program: its pipes or terminal, its user, its limits.

What a plain program needs is done by ``vfork``, which takes less than a millisecond.
Another user takes a ``fork``, and a terminal or limits a few calls between that and
``exec``.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

from guestagent import errors
from guestagent_exec import program

#: What to say of an OSError of exec(2) that the caller can mend.
_EXEC_ERRORS = {
    errno.ENOENT: 'there is no such program, or its interpreter is missing',
    errno.EACCES: 'it is not executable',
    errno.ENOEXEC: 'it is not a program (a script needs #! in its first line)',
    errno.ENOTDIR: 'a part of its path is not a folder',
    errno.ELOOP: 'its path has too many symbolic links',
    errno.ENAMETOOLONG: 'its path is too long',
    errno.E2BIG: 'arguments and environment are too large together',
}


class Launched:
    """A program that was started, and our ends of what it reads and writes.

    :ivar outputs: descriptors by ``stdout`` and ``stderr``.
    :ivar stdin: -1: it has nothing to read.
    :ivar terminal: that one of the outputs which is a terminal; -1: none.
    """

    __slots__ = ('outputs', 'process', 'stdin', 'terminal')

    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self.outputs: dict[str, int] = {}
        self.stdin = -1
        self.terminal = -1

    def descriptors(self, outputs: Iterable[int]) -> list[int]:
        """Return those that are open: these outputs, the input, the terminal."""
        return [fd for fd in {*outputs, self.stdin, self.terminal} if fd >= 0]


def start(plan: program.Plan) -> Launched:
    """Start a program as the leader of a session.

    :raises guestagent.errors.InvalidArgument: it cannot be run, and why.
    :raises guestagent.errors.GuestError: the guest is short of what it takes.
    """
    options: dict[str, Any] = {
        'cwd': plan.folder,
        'env': plan.environment,
        'start_new_session': True,
        'umask': 0o022,
        **plan.account.switch,
    }
    if plan.limits or plan.size is not None:
        options['preexec_fn'] = _preparation(plan)
    ends = _Ends()
    done = False
    try:
        if plan.script is not None:
            from guestagent_exec import script

            stored = script.store(plan.script, plan.account.number)
            ends.theirs.append(stored)
            options |= {'pass_fds': (stored,), 'executable': f'/proc/self/fd/{stored}'}
        connect = _connect_pipes if plan.size is None else _connect_terminal
        launched = connect(plan, ends, options)
        # After this nothing may fail: nobody would look after the program.
        launched.process = subprocess.Popen(plan.argv, **options)
        done = True
        return launched
    except OSError as error:
        raise _explained(error, plan) from None
    except subprocess.SubprocessError:
        raise errors.GuestError('the guest does not let the limits be set') from None
    finally:
        ends.close(done)


class _Ends:
    """Both ends of what a new program gets."""

    def __init__(self) -> None:
        self.ours: list[int] = []
        self.theirs: list[int] = []

    def pipe(self, given: bool = False) -> tuple[int, int]:
        """Return our end of a new pipe, and the program's.

        :param given: the program reads from it.
        :raises OSError: the guest is short of what it takes.
        """
        reads, writes = os.pipe()
        ours, theirs = (writes, reads) if given else (reads, writes)
        self.ours.append(ours)
        self.theirs.append(theirs)
        os.set_blocking(ours, False)
        return ours, theirs

    def close(self, done: bool) -> None:
        """Close the program's ends, and ours if it was not started."""
        for fd in self.theirs if done else (*self.theirs, *self.ours):
            os.close(fd)


def _connect_pipes(
    plan: program.Plan, ends: _Ends, options: dict[str, Any]
) -> Launched:
    launched = Launched()
    options['stdin'] = subprocess.DEVNULL
    if plan.stdin is not None:
        launched.stdin, options['stdin'] = ends.pipe(given=True)
    for name in ('stdout', 'stderr'):
        options[name] = subprocess.DEVNULL
        if name in program.CAPTURES[plan.capture]:
            launched.outputs[name], options[name] = ends.pipe()
    if plan.capture == 'merged':
        options['stderr'] = subprocess.STDOUT
    return launched


def _connect_terminal(
    plan: program.Plan, ends: _Ends, options: dict[str, Any]
) -> Launched:
    from guestagent_exec import terminal

    assert plan.size is not None  # or it gets pipes
    launched = Launched()
    ours, theirs = terminal.open_pair(*plan.size, plan.account.number)
    ends.ours.append(ours)
    ends.theirs.append(theirs)
    # One descriptor cannot be watched for two things that end apart.
    launched.stdin = os.dup(ours)
    ends.ours.append(launched.stdin)
    launched.outputs['stdout'] = launched.terminal = ours
    options |= {'stdin': theirs, 'stdout': theirs, 'stderr': theirs}
    return launched


def _preparation(plan: program.Plan) -> Callable[[], None]:
    """Return what the new process does before it becomes the program.

    Other threads may hold any lock when it is forked, so it makes system calls only.
    """
    import resource

    from guestagent_exec import terminal

    wanted = []
    for name, value in plan.limits.items():
        number = getattr(resource, program.LIMITS[name])
        hard = resource.getrlimit(number)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # SIGXCPU comes a second before SIGKILL, and says why.
        last = most + 1 if name == 'cpu_seconds' and most != hard else most
        wanted.append((number, (most, last)))
    on_terminal = plan.size is not None

    def prepare() -> None:
        for number, bounds in wanted:
            resource.setrlimit(number, bounds)
        if on_terminal:
            terminal.control()

    return prepare


def _explained(error: OSError, plan: program.Plan) -> errors.GuestAgentError:
    """Return the error that tells a caller what went wrong in the child."""
    name = plan.argv[0]
    if error.errno == errno.EPERM and plan.account.switch:
        return errors.GuestError(
            f'the agent may not change its user: it needs the '
            f'capabilities CAP_SETUID and CAP_SETGID: {error.strerror}'
        )
    if error.filename == plan.folder and name != plan.folder:
        return errors.InvalidArgument(f'cwd: {plan.folder!r}: {error.strerror}')
    if error.errno in _EXEC_ERRORS:
        about = _EXEC_ERRORS[error.errno]
        return errors.InvalidArgument(f'{name!r}: {about}: {error.strerror}')
    return errors.GuestError(f'{name!r} cannot be started: {error.strerror}')
