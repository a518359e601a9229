# SPDX-License-Identifier: Apache-2.0
"""Where what the commands ask for is done; made when the first one comes."""

from __future__ import annotations

import builtins
import errno
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent_exec import ending, given, launch, notes, output, program, programs
from guestagent_exec import engine as engines
from guestagent_exec import run as runs

#: What is kept of each output unless the caller says otherwise, in bytes.
OUTPUT_LIMIT = 1024 * 1024
#: How much behind what is kept is held for those who read along, of each output.
WINDOW = 256 * 1024
#: Characters of a command in a status.
_COMMAND_LENGTH = 200


class Desk:
    """All programs of one extension; for all threads.

    :param conf: the section ``[exec]``.
    :param record: has the audit log say more.
    :ivar programs: those that outlive the call that started them.
    """

    def __init__(self, conf: Any, record: notes.Record) -> None:
        self.programs = programs.Programs()
        self._notes = notes.Notes(record)
        self._conf = conf
        self._engine = engines.Engine()
        self._waits = programs.Waits()
        self._budget = output.Budget(conf.kept_total)
        self._stopping = False

    def run(
        self, context: extension.Context, plan: program.Plan, limit: int, seconds: float
    ) -> dict[str, Any]:
        """Run a program to its end; return the result of ``exec.run``.

        :raises guestagent.errors.GuestAgentError: it cannot be run.
        """
        run = self._make(
            plan, {name: output.Output(limit) for name in programs.STREAMS}
        )
        self._start(context, run, plan, seconds)
        with run.changed:
            run.wait(None, lambda: False)
        if run.ended:
            context.check()
            raise errors.Interrupted('the agent was stopped before the command ended')
        if run.error is not None:
            raise run.error
        result = {
            **ending.describe(run.code),
            'timed_out': run.timed_out,
            'detached': run.detached,
            'seconds': run.seconds,
        }
        for name, stream in run.outputs.items():
            result.update(stream.result(name))
        return result

    def spawn(
        self,
        context: extension.Context,
        plan: program.Plan,
        limit: int,
        seconds: float,
        retain: float,
    ) -> dict[str, Any]:
        """Start a program that outlives the call.

        :raises guestagent.errors.GuestAgentError: it cannot be run.
        """
        outputs = {
            name: output.Output(limit, WINDOW, self._budget)
            for name in programs.STREAMS
        }
        run = self._make(plan, outputs, retain)
        made = programs.Program(
            run,
            context,
            {
                'started': round(time.time(), 3),
                'pty': plan.size is not None,
                'user': plan.environment.get('USER', ''),
                'command': shlex.join(plan.argv)[:_COMMAND_LENGTH],
                'caller': context.caller,
            },
        )
        self._notes.follow(made)
        self.programs.add(made, self._conf.max_running, self._conf.max_retained)
        try:
            self._start(context, run, plan, seconds)
            if run.error is not None:
                raise run.error
        except errors.GuestAgentError:
            self.programs.remove(made)
            raise
        return {'handle': made.handle, 'pid': run.pid}

    def read(
        self,
        context: extension.Context,
        handle: str | int,
        offsets: Mapping[str, int],
        count: int | None,
        wait: float,
        reader: str,
        status: bool = False,
    ) -> dict[str, Any]:
        """Return parts of streams by name, as ``exec.read`` and ``exec.poll`` do."""
        found = self.programs.find(context.owner, handle)
        programs.check_offsets(offsets)
        most = programs.COUNT if count is None else count
        if not 1 <= most <= programs.COUNT_MAX:
            raise errors.InvalidArgument(
                f'count: {most} is not from 1 to {programs.COUNT_MAX}'
            )
        with found.run.changed:
            found.follow(
                reader,
                offsets,
                lambda ready: self._waits.wait(
                    context, found.run, wait, self._conf.max_waiting, ready
                ),
            )
            parts = {name: found.part(name, at, most) for name, at in offsets.items()}
            return {**parts, 'status': found.tell()} if status else parts

    def write(
        self,
        context: extension.Context,
        handle: str | int,
        text: tuple[str, str],
        close: bool,
        offset: int | None,
        wait: float,
    ) -> dict[str, Any]:
        """Give a program input, as ``exec.write`` does."""
        found = self.programs.find(context.owner, handle)
        run, feed = found.run, found.run.feed
        data = program.decoded('data', *text) or b''
        if (data or close) and run.input_open and not found.fed:
            self._notes.begin(found)

        def push() -> bool:
            """Add what is left, as far as there is room; return whether it is all."""
            complete = run.input_open and feed.add(data, at)
            run.write_more()
            return complete

        with run.changed:
            at = feed.taken if offset is None else offset
            complete = push()
            if not complete and run.input_open:
                self._waits.wait(
                    context,
                    run,
                    wait,
                    self._conf.max_waiting,
                    lambda: push() or not run.input_open,
                )
                complete = push()
            # A repeat of what was taken, and was the last, is no mistake.
            complete = complete or (at < feed.taken and at + len(data) <= feed.taken)
            if not complete and not run.input_open:
                raise errors.GuestError(
                    f'program {handle!r} reads nothing, or no more: '
                    f'{os.strerror(errno.EPIPE)}'
                )
            if complete and close:
                feed.close()
                run.write_more()
            return {'offset': feed.taken, 'complete': complete, 'open': run.input_open}

    def wait(
        self, context: extension.Context, handle: str | int, seconds: float
    ) -> dict[str, Any]:
        """Wait for the end of a program and return its status."""
        found = self.programs.find(context.owner, handle)
        with found.run.changed:
            self._waits.wait(
                context, found.run, seconds, self._conf.max_waiting, lambda: False
            )
        return found.tell()

    def status(self, context: extension.Context, handle: str | int) -> dict[str, Any]:
        """Return how it stands with a program."""
        return self.programs.find(context.owner, handle).tell()

    def list(self, context: extension.Context) -> builtins.list[dict[str, Any]]:
        """Return how it stands with each program of a caller."""
        return [one.status() for one in self.programs.of(context.owner)]

    def signal(
        self, context: extension.Context, handle: str | int, given_signal: str | int
    ) -> dict[str, Any]:
        """Send a signal to a program and return its status."""
        found = self.programs.find(context.owner, handle)
        number = programs.signal_number(given_signal)
        try:
            found.run.signal(number)
        except ProcessLookupError:
            raise errors.GuestError(
                f'program {handle!r} has ended: {os.strerror(errno.ESRCH)}'
            ) from None
        return found.status()

    def resize(
        self, context: extension.Context, handle: str | int, rows: int, cols: int
    ) -> None:
        """Give a program's terminal another size."""
        found = self.programs.find(context.owner, handle)
        if not found.run.resize(*program.size(rows, cols)):
            raise errors.InvalidArgument(
                f'program {handle!r} has no terminal: {os.strerror(errno.ENOTTY)}'
            )

    def forget(self, context: extension.Context, handle: str | int) -> bool:
        """Forget a program that has ended; return whether it was known."""
        try:
            found = self.programs.find(context.owner, handle)
        except errors.NoSuchRecord:
            return False
        with found.run.changed:
            if not found.run.over:
                raise errors.GuestError(
                    f'program {handle!r} still runs; end it with exec.signal: '
                    f'{os.strerror(errno.EBUSY)}'
                )
            found.run.forget()
        return True

    def busy(self) -> bool:
        """Whether a program runs, or is known although it has ended."""
        return self.programs.busy() or any(
            not run.over for run in self._engine.current()
        )

    def stop(self, seconds: float) -> None:
        """End all programs, and wait so long for them; half of it is their grace."""
        self._stopping = True
        until = time.monotonic() + seconds
        left = [run for run in self._engine.current() if not run.over]
        for at_once, before in ((False, until - seconds / 2), (True, until)):
            for run in left:
                run.end(at_once)
            for run in left:
                with run.changed:
                    run.wait(max(0.0, before - time.monotonic()), lambda: False)
            left = [run for run in left if not run.over]
        for run in self._engine.current():
            with run.changed:
                if run.over:
                    run.forget()

    def plan(
        self,
        *,
        argv: Sequence[str] | None,
        shell: str | None,
        script: str | None,
        script_encoding: str,
        cwd: str | None,
        env: Mapping[str, str] | None,
        clear_env: bool,
        user: str | None,
        stdin: str | None,
        stdin_encoding: str,
        capture: str,
        limits: Mapping[str, int] | None,
        pty: bool | Mapping[str, int] = False,
        keep_stdin: bool = False,
    ) -> program.Plan:
        """Return what is to be started.

        :raises guestagent.errors.InvalidArgument: it cannot be.
        :raises guestagent.errors.GuestError: the agent may not start it.
        """
        size = program.terminal_size(pty)
        if size is not None and capture not in ('separated', 'merged'):
            raise errors.InvalidArgument(
                f'capture: a terminal has one output, and not {capture!r}'
            )
        first = program.decoded('stdin', stdin, stdin_encoding)
        account = program.find_account(user)
        return program.Plan(
            argv=program.command_line(argv, shell, script),
            script=program.decoded('script', script, script_encoding),
            folder=program.folder(cwd),
            environment=program.environment(self._conf.path, account, env, clear_env),
            account=account,
            stdin=b'' if keep_stdin and first is None else first,
            more=keep_stdin,
            size=size,
            capture=capture,
            limits=program.limits(limits),
        )

    def output_limit(self, asked: int | None, option: str) -> int:
        """Return how many bytes of each output are kept.

        :param option: what holds the most that may be asked for.
        :raises guestagent.errors.InvalidArgument: it is more.
        """
        most: int = getattr(self._conf, option)
        if asked is None:
            return min(OUTPUT_LIMIT, most)
        if not 0 <= asked <= most:
            raise errors.InvalidArgument(
                f'output_limit: {asked} is not between 0 and {most} bytes '
                f'([exec] {option})'
            )
        return asked

    def seconds(self, asked: float | None) -> float:
        """Return after how many seconds a program is made to end.

        :raises guestagent.errors.InvalidArgument: no program may run so long.
        """
        return _bounded('timeout', asked, self._conf.timeout_max, 'timeout_max')

    def retention(self, asked: float | None) -> float:
        """Return how many seconds a program is known after its end.

        :raises guestagent.errors.InvalidArgument: none is so long.
        """
        if asked is None:
            asked = min(self._conf.retain, self._conf.retain_max)
        return _bounded('retain', asked, self._conf.retain_max, 'retain_max')

    def _make(
        self, plan: program.Plan, outputs: dict[str, output.Output], retain: float = 0.0
    ) -> runs.Run:
        feed = given.Input(plan.stdin or b'', plan.more, plan.size is not None)
        return runs.Run(self._engine, outputs, feed, self._conf.kill_grace, retain)

    def _start(
        self,
        context: extension.Context,
        run: runs.Run,
        plan: program.Plan,
        seconds: float,
    ) -> None:
        """Start a program that cancel and stop can end."""
        context.check()
        self._engine.enter(run)
        if self._stopping:
            run.end(at_once=True)
        try:
            launched = launch.start(plan)
        except BaseException:
            self._engine.leave(run)
            raise
        run.adopt(launched, seconds)
        context.on_cancel(run.end)


def _bounded(name: str, asked: float | None, most: float, option: str) -> float:
    if asked is None:
        return most
    # NaN is neither above nor below.
    if not 0 < asked <= most:
        raise errors.InvalidArgument(
            f'{name}: {asked:g} is not above 0 and at most {most:g} seconds '
            f'([exec] {option})'
        )
    return asked
