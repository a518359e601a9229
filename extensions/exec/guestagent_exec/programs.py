# SPDX-License-Identifier: Apache-2.0
"""The programs that outlive the call that started them, running or ended."""

from __future__ import annotations

import base64
import contextlib
import errno
import math
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_exec import ending
from guestagent_exec import run as runs

#: Bytes of a stream in one answer, unless the caller says otherwise, and at most.
COUNT, COUNT_MAX = 256 * 1024, 4 * 1024 * 1024
#: The longest that a call waits, in seconds.
WAIT_MAX = 60.0

STREAMS = ('stdout', 'stderr')


class Program:
    """A program with a handle.

    :param context: of the command that starts it.
    :param about: what a status says of it that does not change.
    :ivar owner: whose it is, and who alone may use it.
    :ivar context: who has started it, by which command, and no more of that.
    :ivar fed: it was given input after its start.
    :ivar told: who asked how it stands with it knows that it has ended.
    """

    __slots__ = ('_about', 'context', 'fed', 'handle', 'owner', 'run', 'told')

    def __init__(
        self, run: runs.Run, context: extension.Context, about: Mapping[str, Any]
    ) -> None:
        self.handle = f'p{secrets.token_hex(6)}'
        self.run = run
        self.owner = context.owner
        self.context = extension.Context(
            context.caller, context.command_id, proven=context.proven
        )
        self.fed = False
        self.told = False
        self._about = about

    def status(self) -> dict[str, Any]:
        """Return what is known of it; see ``exec.status``."""
        run = self.run
        with run.changed:
            run.look()
            ended = run.over and run.error is None
            how = ending.describe(run.code if ended else 0)
            if not ended:
                how = dict.fromkeys(how)
            return {
                'handle': self.handle,
                'pid': run.pid,
                'running': not run.over,
                **how,
                'timed_out': run.timed_out,
                'detached': run.detached,
                'error': None if run.error is None else str(run.error),
                'seconds': run.seconds,
                'input_open': run.input_open,
                **{f'{name}_bytes': run.outputs[name].total for name in STREAMS},
                **{
                    f'{name}_truncated': run.outputs[name].truncated for name in STREAMS
                },
                **self._about,
            }

    def tell(self) -> dict[str, Any]:
        """Return the status to somebody who asks for it."""
        with self.run.changed:
            status = self.status()
            self.told = self.told or self.run.over
            return status

    def part(self, name: str, offset: int, count: int) -> dict[str, Any]:
        """Return a part of a stream: ``{data, offset, next, total, eof, lost}``."""
        stream = self.run.outputs[name]
        data, begins = stream.read(offset, count)
        after = begins + len(data)
        return {
            'data': base64.b64encode(data).decode('ascii'),
            'offset': begins,
            'next': after,
            'total': stream.total,
            'eof': self.run.over and after == stream.total,
            'lost': max(0, begins - offset),
        }

    def follow(
        self, reader: str, offsets: Mapping[str, int], wait: Callable[[Any], None]
    ) -> None:
        """Let a reader who has all before these offsets wait for what follows.

        The caller holds ``run.changed``.
        """
        run = self.run
        streams = [(run.outputs[name], offset) for name, offset in offsets.items()]
        # Twice: a reader counts from when it got its answer.
        for once_more in (True, False):
            for stream, offset in streams:
                stream.attach(reader, offset, time.monotonic())
            run.resume()
            if once_more:
                wait(lambda: any(each.total > at for each, at in streams))


class Programs:
    """All of them by handle; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: dict[str, Program] = {}

    def __iter__(self) -> Iterator[Program]:
        with self._lock:
            found = [one for one in self._programs.values() if not one.run.forgotten]
        # Those without a number are just being started.
        return iter([one for one in found if one.run.pid])

    def add(self, program: Program, most: int, retained: int) -> None:
        """Take one that is about to be started.

        :param most: how many may run.
        :param retained: how many that have ended may be kept.
        :raises guestagent.errors.GuestError: enough run already.
        """
        with self._lock:
            for handle, one in list(self._programs.items()):
                if one.run.forgotten:
                    del self._programs[handle]
            ended = [one for one in self._programs.values() if one.run.over]
            if len(self._programs) - len(ended) >= most:
                raise errors.GuestError(
                    f'{most} programs run already, as many as may ([exec] '
                    f'max_running): {os.strerror(errno.EAGAIN)}'
                )
            # Of those that somebody has read nothing is lost.
            ended.sort(key=lambda one: not one.told or one.run.unread)
            surplus = ended[: max(0, len(ended) - retained)]
            for one in surplus:
                del self._programs[one.handle]
            self._programs[program.handle] = program
        for one in surplus:
            with one.run.changed:
                one.run.forget()

    def remove(self, program: Program) -> None:
        """Forget one that could not be started."""
        with self._lock:
            self._programs.pop(program.handle, None)

    def of(self, owner: str) -> list[Program]:
        """Return those of one caller, in the order in which they were started."""
        return [one for one in self if one.owner == owner]

    def find(self, owner: str, handle: str | int) -> Program:
        """Return a program of a caller by its handle or its process.

        :raises guestagent.errors.NoSuchRecord: none of his has it.
        """
        for one in reversed(self.of(owner)):
            if handle == one.handle or (handle == one.run.pid and handle is not True):
                return one
        raise errors.NoSuchRecord(
            f'there is no program {handle!r} of this caller: it has ended and was '
            f'forgotten, or the agent was started again'
        )

    def busy(self) -> bool:
        """Whether one is known: it runs, or has ended not long ago."""
        return any(True for _ in self)


class Waits:
    """Keeps those who wait from taking all of the agent's workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0

    def wait(
        self,
        context: extension.Context,
        run: runs.Run,
        seconds: float,
        most: int,
        ready: Callable[[], bool],
    ) -> None:
        """Wait until ``ready``, or the program's end, or time is over.

        The caller holds ``run.changed``.  Where ``most`` wait already it is not waited.

        :raises guestagent.errors.GuestError: nobody waits for the answer any more.
        """
        left = context.remaining()
        seconds = min(seconds, WAIT_MAX, math.inf if left is None else left)
        with self._lock:
            if self._waiting >= most:
                return
            self._waiting += 1
        try:
            context.on_cancel(run.nudge)
            run.wait(seconds, lambda: ready() or context.cancelled)
        finally:
            with self._lock:
                self._waiting -= 1
        context.check()


def signal_number(given: str | int) -> int:
    """Return a signal, given by name or number.

    :raises guestagent.errors.InvalidArgument: there is no such signal.
    """
    if isinstance(given, str) and not given.isdecimal():
        name = given.upper()
        with contextlib.suppress(KeyError):
            return signal.Signals[name if name.startswith('SIG') else f'SIG{name}']
    elif 1 <= int(given) < signal.NSIG:
        return int(given)
    raise errors.InvalidArgument(f'signal: there is no signal {given!r}')


def check_offsets(offsets: Mapping[str, int]) -> Mapping[str, int]:
    """Return the offsets of both streams.

    :raises guestagent.errors.InvalidArgument: there is no such stream, or byte.
    """
    for name, offset in offsets.items():
        if name not in STREAMS:
            raise errors.InvalidArgument(f'there is no stream {name!r}')
        if offset < 0:
            raise errors.InvalidArgument(f'offset: {offset} is below 0')
    return {**dict.fromkeys(STREAMS, 0), **offsets}
