# SPDX-License-Identifier: Apache-2.0
"""The worker as the agent sees it: one process for one request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import programs

#: What the worker gets to remove what it has begun, in seconds; then it is killed.
GRACE = 30.0
#: Seconds between two looks whether it has ended.
STEP = 0.01
MODULE = 'guestagent_datastore.backups.worker'


class Failed(Exception):
    """What the worker said.

    :ivar error: to be raised.
    :ivar left: whether something is left behind in the storage.
    """

    def __init__(self, error: errors.GuestAgentError, left: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.left = left


def run(
    request: Mapping[str, Any],
    context: extension.Context,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
    metadata: Callable[[], Mapping[str, str]] | None = None,
    marked: bool = False,
) -> Any:
    """Have a worker do one thing; return its result.

    When the context is cancelled the worker is told to end, and when it does not, it is
    killed with all its programs.

    :param metadata: answers the worker's question; what it raises ends the work.
    :param marked: where this agent is killed the next one ends the worker and its
        programs, and waits for that (:func:`guestagent_datastore.programs.marked`).
    :raises Failed: it could not, or died.
    """
    inherited = programs.inherited() if marked else ()
    process = subprocess.Popen(
        _command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd='/',
        env=_environment(),
        start_new_session=True,
        pass_fds=inherited,
    )
    killer = threading.Timer(GRACE, _kill, (process,))
    killer.daemon = True

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(RuntimeError):
            killer.start()

    try:
        context.on_cancel(end)
        mark = inherited[0] if inherited else None
        return _talk(process, {**request, 'mark': mark}, progress, metadata)
    finally:
        _close(process)
        killer.cancel()
        process.wait()


def _talk(
    process: subprocess.Popen[bytes],
    request: Mapping[str, Any],
    progress: Callable[[int, int], None],
    metadata: Callable[[], Mapping[str, str]] | None,
) -> Any:
    refused: errors.GuestAgentError | None = None
    _say(process, request)
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if 'result' in said:
            return said['result']
        if 'error' in said:
            error = refused or getattr(errors, said['error'])(said['message'])
            raise Failed(error, said['left'])
        if 'progress' in said:
            progress(*said['progress'])
        elif metadata is not None:
            try:
                _say(process, {'metadata': metadata()})
            except errors.GuestAgentError as problem:
                refused = problem
                process.terminate()
    raise Failed(
        refused or errors.GuestError('the process that worked on it was killed'), True
    )


def _say(process: subprocess.Popen[bytes], value: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    # One that has ended says why by itself.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(value).encode() + b'\n')
        process.stdin.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    """End it in good order; after a moment, in any."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    deadline = time.monotonic() + GRACE
    while not _has_ended(process) and time.monotonic() < deadline:
        time.sleep(STEP)
    _kill(process)
    process.stdout.close()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has; it stays unreaped, so that its session is nobody else's."""
    if process.returncode is not None:
        return True
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs, and what it has left behind in its session."""
    if process.returncode is not None:
        return
    # Itself first, or it would start others.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    for member in _members(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)


def _members(session: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for entry in os.listdir('/proc'):
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.getsid(int(entry)) == session:
                found.append(int(entry))
    return found


def _command() -> list[str]:
    """Return what runs the worker as this process would import it.

    What was packaged with the agent is in no place that Python knows by itself; -I, as
    a packaged agent has it, would forget where that is.
    """
    flags = ['-P']
    if sys.flags.no_site:
        flags.append('-S')
    if sys.flags.no_user_site:
        flags.append('-s')
    return [sys.executable, *flags, '-m', MODULE]


def _environment() -> dict[str, str]:
    """Return nothing of the agent's own, and where its modules are."""
    return {
        'PATH': programs.PATH,
        'LC_ALL': 'C.UTF-8',
        'PYTHONPATH': os.pathsep.join(path for path in sys.path if path),
    }
