# SPDX-License-Identifier: Apache-2.0
"""``exec``: run a program or a shell's command in the guest.

What only a running command needs is imported when the first one runs: an idle agent
does without it, and without the thread that looks after programs.
"""

from __future__ import annotations

import builtins
import logging
import signal as signals
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from guestagent import extension

if TYPE_CHECKING:
    from oslo_config import cfg

    from guestagent_exec import desk as desks

LOG = logging.getLogger(__name__)

#: Seconds that programs get to end when the agent stops; half of it before SIGKILL.
STOP_SECONDS = 3.0

Encoding = Literal['utf-8', 'base64']
Capture = Literal['separated', 'merged', 'stdout', 'stderr', 'none']
Stream = Literal['stdout', 'stderr']


class Exec(extension.Extension):
    """Answers ``exec.*``: programs that are waited for, and programs that go on."""

    version = '1.1'
    needs_root = 'to run commands as root, or as another user (argument user)'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._lock = threading.Lock()
        self._made: desks.Desk | None = None

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """See the base class."""
        from guestagent_exec import conf

        return conf.OPTIONS

    @extension.command(mutates=True, timeout=None, sensitive=('stdin', 'env', 'script'))
    def run(
        self,
        context: extension.Context,
        argv: builtins.list[str] | None = None,
        shell: str | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        stdin: str | None = None,
        stdin_encoding: Encoding = 'utf-8',
        timeout: float = 60,
        output_limit: int | None = None,
        script: str | None = None,
        script_encoding: Encoding = 'utf-8',
        clear_env: bool = False,
        capture: Capture = 'separated',
        limits: dict[str, int] | None = None,
    ) -> dict[str, Any]:
        """Run a command to its end and return how it ended and what it wrote.

        Either ``argv``, a program and its arguments, or ``shell``, a text for
        ``/bin/sh``, or ``script``, the text of a program that ``argv`` are the
        arguments of; in the folder ``cwd`` (default ``/``) as ``user`` (a name or a
        number; default: the agent's own).  ``env`` is added to a small environment
        that holds nothing of the agent's, or is all of it (``clear_env``).  After
        ``timeout`` seconds the command and all that it has started are killed.  Of each
        output the first ``output_limit`` bytes are kept (default 1 MiB).

        :raises guestagent.errors.InvalidArgument: it cannot be run as asked.
        :raises guestagent.errors.GuestError: the guest cannot run it, or end it.
        """
        desk = self._desk()
        limit = desk.output_limit(output_limit, 'output_limit_max')
        seconds = desk.seconds(timeout)
        left = context.remaining()
        plan = desk.plan(
            argv=argv,
            shell=shell,
            script=script,
            script_encoding=script_encoding,
            cwd=cwd,
            env=env,
            clear_env=clear_env,
            user=user,
            stdin=stdin,
            stdin_encoding=stdin_encoding,
            capture=capture,
            limits=limits,
        )
        return desk.run(
            context, plan, limit, seconds if left is None else min(seconds, left)
        )

    @extension.command(mutates=True, timeout=60, sensitive=('stdin', 'env', 'script'))
    def spawn(
        self,
        context: extension.Context,
        argv: builtins.list[str] | None = None,
        shell: str | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        stdin: str | None = None,
        stdin_encoding: Encoding = 'utf-8',
        timeout: float | None = None,
        output_limit: int | None = None,
        script: str | None = None,
        script_encoding: Encoding = 'utf-8',
        clear_env: bool = False,
        capture: Capture = 'separated',
        limits: dict[str, int] | None = None,
        pty: bool | dict[str, int] = False,
        keep_stdin: bool = False,
        retain: float | None = None,
    ) -> dict[str, Any]:
        """Start a program, and return ``{handle, pid}``; other commands take either.

        The arguments are those of ``run``, and: ``pty`` gives it a terminal
        (``{rows, cols}``), ``keep_stdin`` leaves its input open for ``write``.  Without
        ``timeout`` it may run for ``[exec] timeout_max`` seconds.  How it ended and
        what it wrote is known for ``retain`` seconds after its end.

        :raises guestagent.errors.InvalidArgument: it cannot be run as asked.
        :raises guestagent.errors.GuestError: the guest cannot run it, or enough run.
        """
        desk = self._desk()
        plan = desk.plan(
            argv=argv,
            shell=shell,
            script=script,
            script_encoding=script_encoding,
            cwd=cwd,
            env=env,
            clear_env=clear_env,
            user=user,
            stdin=stdin,
            stdin_encoding=stdin_encoding,
            capture=capture,
            limits=limits,
            pty=pty,
            keep_stdin=keep_stdin,
        )
        limit = desk.output_limit(output_limit, 'kept_limit_max')
        return desk.spawn(
            context, plan, limit, desk.seconds(timeout), desk.retention(retain)
        )

    @extension.command(mutates=False, timeout=None)
    def read(
        self,
        context: extension.Context,
        handle: str | int,
        stream: Stream = 'stdout',
        offset: int = 0,
        count: int | None = None,
        wait: float = 0,
        reader: str = '',
    ) -> dict[str, Any]:
        """Return ``{data, offset, next, total, eof, lost}``: bytes as base64 text.

        It waits up to ``wait`` seconds (60 at most) until there is something from
        ``offset`` on, or the program has ended.  Who asks from ``next`` on, again and
        again, loses nothing: the program waits for him.  ``lost`` bytes before
        ``offset`` were dropped.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        """
        parts = self._desk().read(
            context, handle, {stream: offset}, count, wait, reader
        )
        return parts[stream]

    @extension.command(mutates=False, timeout=None)
    def poll(
        self,
        context: extension.Context,
        handle: str | int,
        offsets: dict[str, int] | None = None,
        wait: float = 0,
        count: int | None = None,
        reader: str = '',
    ) -> dict[str, Any]:
        """Return ``{stdout, stderr, status}``: both as ``read``, and ``status``.

        ``offsets`` are from where on, as ``{"stdout": 0, "stderr": 0}``.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        """
        from guestagent_exec import programs

        wanted = programs.check_offsets(offsets or {})
        return self._desk().read(context, handle, wanted, count, wait, reader, True)

    @extension.command(mutates=False, timeout=None, sensitive=('data',))
    def write(
        self,
        context: extension.Context,
        handle: str | int,
        data: str = '',
        encoding: Encoding = 'utf-8',
        close: bool = False,
        offset: int | None = None,
        wait: float = 0,
    ) -> dict[str, Any]:
        """Give a program more to read, and return ``{offset, complete, open}``.

        ``offset`` is how many bytes were taken so far, of all writes: 1 MiB waits for
        the program at most, and ``complete`` is false if not all of ``data`` was taken
        within ``wait`` seconds.  Given as an argument, it is where ``data`` belongs:
        what was taken before is not written twice.  ``close`` ends the input.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        :raises guestagent.errors.GuestError: it reads no more.
        """
        return self._desk().write(
            context, handle, (data, encoding), close, offset, wait
        )

    @extension.command(mutates=False, timeout=10)
    def status(self, context: extension.Context, handle: str | int) -> dict[str, Any]:
        """Return how it stands with a program.

        ``{handle, pid, running, exit_code, signal, signal_name, timed_out, detached,
        error, started, seconds, stdout_bytes, stderr_bytes, stdout_truncated,
        stderr_truncated, input_open, pty, user, command, caller}``

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        """
        return self._desk().status(context, handle)

    @extension.command(mutates=False, timeout=None)
    def wait(
        self, context: extension.Context, handle: str | int, timeout: float = 30
    ) -> dict[str, Any]:
        """Wait for the end of a program, 60 seconds at most, and return its status.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        """
        return self._desk().wait(context, handle, timeout)

    @extension.command(mutates=False, timeout=10)
    def list(self, context: extension.Context) -> builtins.list[dict[str, Any]]:
        """Return the status of each program of the caller that is known."""
        if self._made is None:
            return []
        return self._made.list(context)

    @extension.command(mutates=True, timeout=10)
    def signal(
        self, context: extension.Context, handle: str | int, signal: str | int
    ) -> dict[str, Any]:
        """Send a signal (``TERM``, ``SIGTERM``, 15) to all processes of a program.

        Return its status.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        :raises guestagent.errors.GuestError: it has ended.
        """
        return self._desk().signal(context, handle, signal)

    @extension.command(mutates=False, timeout=10)
    def resize(
        self, context: extension.Context, handle: str | int, rows: int, cols: int
    ) -> None:
        """Give a program's terminal another size.

        :raises guestagent.errors.NoSuchRecord: there is no such program.
        :raises guestagent.errors.InvalidArgument: it has no terminal.
        """
        self._desk().resize(context, handle, rows, cols)

    @extension.command(mutates=False, timeout=10)
    def forget(self, context: extension.Context, handle: str | int) -> dict[str, bool]:
        """Forget a program that has ended; return ``{forgotten}``.

        :raises guestagent.errors.GuestError: it still runs.
        """
        return {'forgotten': self._desk().forget(context, handle)}

    def start(self) -> None:
        """Undo what a parent may have left behind: it would hide all exit codes."""
        if signals.getsignal(signals.SIGCHLD) is signals.SIG_IGN:
            signals.signal(signals.SIGCHLD, signals.SIG_DFL)

    def stop(self) -> None:
        """End what still runs, and wait a little for it to return."""
        if self._made is not None:
            self._made.stop(STOP_SECONDS)

    def busy(self) -> bool:
        """Whether a program runs, or is known although it has ended."""
        return self._made is not None and self._made.busy()

    def interrupted(self, method: str, command_id: str) -> None:
        """Say that nobody looks after a program; its script is gone with it."""
        LOG.warning(
            'exec.%s (command %s) was cut short by the end of the agent: what it '
            'started may still run',
            method,
            command_id,
        )

    def _desk(self) -> desks.Desk:
        with self._lock:
            if self._made is None:
                from guestagent_exec import desk

                self._made = desk.Desk(self.conf, self._record)
            return self._made

    def _record(
        self, context: extension.Context, about: Mapping[str, Any], needed: bool
    ) -> None:
        self.record_note('spawn', context, about, needed=needed)
