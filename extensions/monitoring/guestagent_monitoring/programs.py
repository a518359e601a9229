# SPDX-License-Identifier: Apache-2.0
"""Asks a program of the guest, in a bounded time and behind everybody else's work."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

#: The program's own words must not be translated.
_ENVIRONMENT = {'LC_ALL': 'C.UTF-8', 'LANG': 'C.UTF-8'}
#: How much of what it says about its trouble is kept, in bytes.
_TROUBLE_MAX = 4096
_SIZE_MAX = 64 * 1024 * 1024


def find(name: str) -> str | None:
    """Return the path of a program, ``None`` where there is none."""
    import shutil

    return shutil.which(name)


def ask(
    command: Sequence[str],
    timeout: float,
    expected: Collection[int] = (0,),
    size_max: int = _SIZE_MAX,
) -> str:
    """Run a program and return what it says.

    What it has started is killed with it when it has had its time, or said too much.

    :param timeout: seconds that it may take.
    :param expected: the exit statuses of one that could tell.
    :param size_max: how many bytes it may say.
    :raises OSError: it cannot be started, fails, or does not end in time.
    :raises ValueError: it says too much.
    """
    import subprocess

    with subprocess.Popen(
        ['nice', *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
        process_group=0,
        bufsize=0,
    ) as process:
        try:
            said, trouble = _listen(process, command[0], timeout, size_max)
        except (TimeoutError, ValueError):
            _kill(process)
            raise
    if process.returncode not in expected:
        words = trouble.decode('utf-8', 'replace').strip().splitlines()
        reason = words[-1] if words else 'it says nothing'
        raise OSError(f'{command[0]} has failed ({process.returncode}): {reason}')
    return said.decode('utf-8', 'replace')


def _listen(
    process: subprocess.Popen[bytes], name: str, timeout: float, size_max: int
) -> tuple[bytes, bytes]:
    """Return both outputs when the program has ended."""
    import select
    import subprocess

    deadline = time.monotonic() + timeout
    said, trouble = bytearray(), bytearray()
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    open_files = {
        pipe.fileno(): kept for pipe, kept in zip(pipes, (said, trouble), strict=True)
    }
    poll = select.poll()
    for number in open_files:
        poll.register(number, select.POLLIN)
    late = TimeoutError(f'{name} has not ended within {timeout:g} seconds')
    while open_files:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise late
        for number, _events in ready:
            data = os.read(number, 65536)
            open_files[number].extend(data)
            if not data:
                poll.unregister(number)
                del open_files[number]
        del trouble[:-_TROUBLE_MAX]
        if len(said) > size_max:
            raise ValueError(f'{name} says more than {size_max} bytes')
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    return bytes(said), bytes(trouble)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and what it has started even if itself has ended."""
    import contextlib
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
