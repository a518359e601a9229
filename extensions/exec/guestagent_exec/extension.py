# SPDX-License-Identifier: Apache-2.0
"""``exec``: run a program or a shell's command in the guest.

What only a running command needs is imported when the first one runs: an idle agent
does without it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from guestagent import errors, extension
from guestagent_exec import conf as options

if TYPE_CHECKING:
    from guestagent_exec import run as runs

#: What is kept of each output unless the caller says otherwise, in bytes.
OUTPUT_LIMIT = 1024 * 1024
#: Seconds that killed commands get to return when the agent stops.
STOP_SECONDS = 2.0


class Exec(extension.Extension):
    """Answers ``exec.run``."""

    version = '1.0'
    options = options.OPTIONS
    needs_root = 'to run commands as root, or as another user (argument user)'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._changed = threading.Condition()
        self._running: set[runs.Run] = set()
        self._stopping = False

    @extension.command(mutates=True, timeout=None, sensitive=('stdin', 'env'))
    def run(
        self,
        context: extension.Context,
        argv: list[str] | None = None,
        shell: str | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        stdin: str | None = None,
        stdin_encoding: Literal['utf-8', 'base64'] = 'utf-8',
        timeout: float = 60,
        output_limit: int | None = None,
    ) -> dict[str, Any]:
        """Run a command to its end and return how it ended and what it wrote.

        Either ``argv``, a program and its arguments, or ``shell``, a text for
        ``/bin/sh``, in the folder ``cwd`` (default ``/``) as ``user`` (a name or a
        number; default: the agent's own).  ``env`` is added to a small environment
        that holds nothing of the agent's.  After ``timeout`` seconds the command and
        all that it has started are killed.  Of each output the first
        ``output_limit`` bytes are kept (default 1 MiB).

        :raises guestagent.errors.InvalidArgument: it cannot be run as asked.
        :raises guestagent.errors.GuestError: the guest cannot run it, or end it.
        """
        from guestagent_exec import program

        limit = self._output_limit(output_limit)
        seconds = self._seconds(timeout, context)
        line = program.command_line(argv, shell)
        given = program.input_bytes(stdin, stdin_encoding)
        account = program.find_account(user)
        environment = program.environment(self.conf.path, account, env)
        folder = program.folder(cwd)
        with self._within_reach(context, limit) as run:
            process = program.start(
                line, folder, environment, account, given is not None
            )
            result = run.wait(process, given or b'', seconds)
        if run.ended:
            context.check()
            raise errors.Interrupted('the agent was stopped before the command ended')
        return result

    def start(self) -> None:
        """Undo what a parent may have left behind: it would hide all exit codes."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def stop(self) -> None:
        """Kill what still runs, and wait a little for it to return."""
        with self._changed:
            self._stopping = True
            for run in self._running:
                run.end(at_once=True)
            self._changed.wait_for(lambda: not self._running, STOP_SECONDS)

    @contextlib.contextmanager
    def _within_reach(
        self, context: extension.Context, limit: int
    ) -> Iterator[runs.Run]:
        """Make a run that cancel and stop can end, and forget it afterwards."""
        from guestagent_exec import run as runs

        context.check()
        run = runs.Run(limit, self.conf.kill_grace)
        with self._changed:
            self._running.add(run)
            if self._stopping:
                run.end(at_once=True)
        try:
            context.on_cancel(run.end)
            yield run
        finally:
            with self._changed:
                self._running.discard(run)
                self._changed.notify_all()
            run.close()

    def _output_limit(self, asked: int | None) -> int:
        most: int = self.conf.output_limit_max
        if asked is None:
            return min(OUTPUT_LIMIT, most)
        if not 0 <= asked <= most:
            raise errors.InvalidArgument(
                f'output_limit: {asked} is not between 0 and {most} bytes '
                f'([exec] output_limit_max)'
            )
        return asked

    def _seconds(self, asked: float, context: extension.Context) -> float:
        most: float = self.conf.timeout_max
        # NaN is neither above nor below.
        if not 0 < asked <= most:
            raise errors.InvalidArgument(
                f'timeout: {asked:g} is not above 0 and at most {most:g} seconds '
                f'([exec] timeout_max)'
            )
        left = context.remaining()
        return asked if left is None else min(asked, left)
