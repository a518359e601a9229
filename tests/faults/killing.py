# SPDX-License-Identifier: Apache-2.0
"""Kill a process when it makes its n-th call of a kind, before the kernel does it."""

import contextlib
import subprocess

from devstack import processes


class Trap:
    """strace at a process; a context manager.

    :param calls: names of system calls, with commas between.
    :param nth: which of them, of each thread, ends the process.
    """

    def __init__(self, child, folder, calls, nth):
        self._child = child
        self._tracer = subprocess.Popen(
            [
                *('strace', '-f', '-o', folder / 'trap', '-p', str(child.pid)),
                *('-e', f'trace={calls}', '-e', 'signal=none'),
                *('-e', f'inject={calls}:signal=SIGKILL:when={nth}'),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        while 'attached' not in self._tracer.stderr.readline():
            assert self._tracer.poll() is None, 'strace may not attach'

    def wait(self, otherwise):
        """Wait until it has sprung, or ``otherwise()``; return whether it has."""
        processes.wait_for(
            lambda: not self._child.running or otherwise(), 'the trap springs', 120
        )
        # Others may be told before it has done all that it does then.
        with contextlib.suppress(processes.Failed):
            processes.wait_for(lambda: not self._child.running, 'it does more', 2)
        return not self._child.running

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._child.running:
            self._tracer.terminate()
        self._tracer.communicate(timeout=120)
