# SPDX-License-Identifier: Apache-2.0
"""Run the system's programs: with no shell, as another user, to their end."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import models

#: Where programs are looked for, and all that they know of the agent's environment.
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
#: How much of what a failed program said goes into the error, in characters.
TAIL = 2000
#: Seconds between two times that one is heard which says how far it is.
TOLD_SECONDS = 0.5


_local = threading.local()


@contextlib.contextmanager
def marked(path: pathlib.Path) -> Iterator[None]:
    """Let what this thread runs meanwhile have a file open, by which it is found.

    It may outlive an agent that is killed (:mod:`guestagent_datastore.holders`).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, 'w') as file:
        bear(file.fileno())
        try:
            yield
        finally:
            del _local.mark


def bear(mark: int) -> None:
    """Let what this thread runs from now on have this file open, too."""
    _local.mark = mark


def inherited() -> tuple[int, ...]:
    """Return that file, if there is one, as ``pass_fds`` of ``subprocess.Popen``."""
    mark: int | None = getattr(_local, 'mark', None)
    return () if mark is None else (mark,)


def environment(command: models.Command) -> dict[str, str]:
    """Return the environment of a command."""
    return {'PATH': PATH, 'LC_ALL': 'C.UTF-8', **command.environment}


def account(command: models.Command) -> Mapping[str, Any]:
    """Return the arguments of ``subprocess.Popen`` that make it the command's user.

    Nothing without root: then it runs as who the agent is.

    :raises guestagent.errors.GuestError: there is no such user.
    """
    import pwd

    if not command.user or os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(command.user)
    except KeyError:
        raise errors.GuestError(
            f'there is no user {command.user!r}: is the server installed?'
        ) from None
    groups = os.getgrouplist(command.user, entry.pw_gid)
    return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': groups}


def run(
    command: models.Command,
    *,
    context: extension.Context | None = None,
    seconds: float = 60,
    codes: tuple[int, ...] = (0,),
    left: bool = False,
    told: Callable[[str], None] | None = None,
) -> str:
    """Run it to its end and return what it wrote to standard output.

    :param context: when it is cancelled, the program and what it started are killed.
    :param codes: the exit codes that are no failure.
    :param told: called now and then with all that it has said on standard error.
    :param left: it may go on when the agent is killed, and is not ended by the next.
    :raises guestagent.errors.GuestError: it cannot be run, did not end in time, or
        failed; with the end of what it said.
    """
    name = command.argv[0]
    process = _start(command, () if left else inherited())
    with process:
        if context is not None:
            context.on_cancel(lambda: _kill(process))
        output, complaints = _hear(process, name, seconds, told)
    if context is not None:
        context.check()
    if process.returncode not in codes:
        said = (complaints.strip() or output.strip())[-TAIL:]
        raise errors.GuestError(f'{name} failed ({process.returncode}): {said}')
    return output


def _hear(
    process: subprocess.Popen[str],
    name: str,
    seconds: float,
    told: Callable[[str], None] | None,
) -> tuple[str, str]:
    """Return what it has said on both outputs, once it has ended."""
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        try:
            step = left if told is None else min(left, TOLD_SECONDS)
            output, complaints = process.communicate(timeout=step)
        except subprocess.TimeoutExpired as waited:
            if told is not None and waited.stderr:
                # It is bytes whatever the process was started with.
                told(bytes(waited.stderr).decode(errors='replace'))
        else:
            if told is not None:
                told(complaints)
            return output, complaints
        if time.monotonic() >= until:
            _kill(process)
            raise errors.GuestError(f'{name} did not end in {seconds:g} s')


def _kill(process: subprocess.Popen[str]) -> None:
    # Once it was waited for, the number may be another's.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _start(command: models.Command, marks: tuple[int, ...]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=command.folder,
            env=environment(command),
            start_new_session=True,
            pass_fds=marks,
            text=True,
            errors='replace',
            **account(command),
        )
    except OSError as error:
        raise errors.GuestError(
            f'{command.argv[0]}: {error.strerror or error}'
        ) from None
