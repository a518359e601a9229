# SPDX-License-Identifier: Apache-2.0
"""Run programs before the freeze and after the thaw.

Each is called with ``freeze`` or ``thaw``, those of the thaw in the reverse order.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable

#: How much of what one writes is kept, in bytes.
OUTPUT_MAX = 4096
_ENVIRONMENT = {
    'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LANG': 'C.UTF-8',
}


class Failed(Exception):
    """A hook has failed; says which, and what it wrote."""


def freeze(paths: Iterable[str], seconds: float) -> None:
    """Run all; the first that fails is the last.

    :param seconds: that each has.
    :raises Failed: one failed.
    """
    for path in paths:
        fault = run(path, 'freeze', seconds)
        if fault:
            raise Failed(fault)


def thaw(paths: list[str], seconds: float) -> list[str]:
    """Run all, whatever becomes of one; return what went wrong."""
    faults = [run(path, 'thaw', seconds) for path in reversed(paths)]
    return [fault for fault in faults if fault]


def run(path: str, verb: str, seconds: float) -> str:
    """Run one; return in a sentence what went wrong, ``''``: nothing.

    It is killed with its process group when its time is over.
    """
    try:
        process = subprocess.Popen(
            [path, verb],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            cwd='/',
            start_new_session=True,
        )
    except OSError as error:
        return f'hook {path} cannot be run: {error.strerror}'
    assert process.stdout is not None
    with process.stdout:
        output, late = _listen(process, process.stdout.fileno(), seconds)
    text = output.decode('utf-8', 'replace').strip()
    said = f': {text}' if text else ''
    if late:
        return f'hook {path} {verb} did not end within {seconds:g} s{said}'
    if process.returncode:
        return f'hook {path} {verb} ended with {_status(process.returncode)}{said}'
    return ''


def _listen(
    process: subprocess.Popen[bytes], fd: int, seconds: float
) -> tuple[bytes, bool]:
    """Read until the process has ended; return the output, and if it was too late."""
    until, output = time.monotonic() + seconds, b''
    pidfd = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    late = over = False
    try:
        while not over:
            left = until - time.monotonic()
            ready = dict(poll.poll(max(0, left) * 1000))
            late = not ready
            over = late or pidfd in ready
            if fd in ready:
                data = os.read(fd, 65536)
                output = (output + data)[:OUTPUT_MAX]
                if not data:
                    poll.unregister(fd)
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            output = _drain(fd, output)
    finally:
        os.close(pidfd)
    process.wait()
    return output, late


def _drain(fd: int, output: bytes) -> bytes:
    """Read what is left, and no more: what it has started may have the pipe, too."""
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while len(output) < OUTPUT_MAX and (data := os.read(fd, 65536)):
            output = (output + data)[:OUTPUT_MAX]
    return output


def _status(code: int) -> str:
    return f'exit code {code}' if code > 0 else f'signal {-code}'
