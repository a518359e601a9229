# SPDX-License-Identifier: Apache-2.0
"""A program from its start to its end: fed, read, and ended in time.

It ends by itself, or its whole session is told to end (SIGTERM) and then made to
(SIGKILL); its leader is reaped last, so that no signal can meet a stranger.  All that
waits for something happens on the engine's thread.
"""

from __future__ import annotations

import functools
import math
import os
import signal as signals
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guestagent import errors
from guestagent_exec import engine as engines
from guestagent_exec import given, output, session, terminal

if TYPE_CHECKING:
    from guestagent_exec import launch

#: Seconds that a left-behind process which holds the outputs open is waited for.
DRAIN_SECONDS = 0.5
#: Seconds until a process that does not even end by SIGKILL is given up.
KILL_SECONDS = 5.0
#: Seconds between two looks where the kernel gives no notice.
TICK = 0.05
CHUNK = 64 * 1024
#: What a pipe holds at most, unless root has changed that.
PIPE_MAX = 1024 * 1024


class Run:
    """One program.

    It is made before the program is started, so that nothing that can fail stands
    between the start and :meth:`adopt`.  ``changed`` guards all else: whoever waits
    for output or the end waits for it.

    :param outputs: ``stdout`` and ``stderr``; what is not captured stays empty.
    :param feed: what it is given to read.
    :param retain: seconds for which it is known after its end.
    :ivar pid: 0 before it was started.
    :ivar timed_out: its time was over before it ended.
    :ivar ended: it was told to end by :meth:`end`, and had not ended before.
    :ivar over: it has ended, and all that it has written was read.
    :ivar forgotten: it need not be known any more.
    :ivar at_end: called when it is over, in the lock.
    :ivar error: why it could not be looked after to its end.
    """

    def __init__(
        self,
        engine: engines.Engine,
        outputs: dict[str, output.Output],
        feed: given.Input,
        kill_grace: float,
        retain: float = 0.0,
    ) -> None:
        self.changed = threading.Condition()
        self.outputs = outputs
        self.feed = feed
        self.pid = 0
        self.timed_out = False
        self.ended = False
        self.over = False
        self.forgotten = False
        self.detached = False
        self.code = 0
        self.error: errors.GuestAgentError | None = None
        self.at_end: Callable[[], None] | None = None
        self._engine = engine
        self._kill_grace = kill_grace
        self._retain = retain
        self._asked: signals.Signals | None = None  # by another thread
        self._sent: signals.Signals | None = None
        self._kill_at = 0.0
        self._began = self._stepped = self._over_at = 0.0
        self._deadline = math.inf
        self._exited = False
        self._gone_at: float | None = None
        self._exit_fd: int | None = None
        self._launched: launch.Launched | None = None
        # The outputs that are open, and those of them that wait for readers.
        self._open: dict[int, output.Output] = {}
        self._paused: set[int] = set()
        self._writes = False
        self._drained = False

    def adopt(self, launched: launch.Launched, timeout: float) -> None:
        """Look after a program that was just started.

        :param timeout: seconds until it is made to end.
        """
        with self.changed:
            self._launched = launched
            self.pid = launched.process.pid
            for name, fd in launched.outputs.items():
                self._open[fd] = self.outputs[name]
            self._began = time.monotonic()
            self._deadline = self._began + timeout
            try:
                self._watch_all(launched)
            except OSError as error:
                self._fail(errors.GuestError(f'it cannot be watched: {error.strerror}'))
        self._engine.wake()

    def end(self, at_once: bool = False) -> None:
        """Let the whole session be ended soon; from any thread, at any time.

        :param at_once: without a grace.
        """
        self._asked = signals.SIGKILL if at_once else signals.SIGTERM
        self._engine.wake()

    def signal(self, number: int) -> None:
        """Send a signal to the whole session.

        :raises ProcessLookupError: it has ended.
        """
        with self.changed:
            if self.over or self._launched is None:
                raise ProcessLookupError
            session.kill(self.pid, number)

    def wait(self, seconds: float | None, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` or its end; the caller holds ``changed``."""
        self.changed.wait_for(lambda: self.over or ready(), seconds)

    def nudge(self) -> None:
        """Let those who wait look again."""
        with self.changed:
            self.changed.notify_all()

    def write_more(self) -> None:
        """Write what was added to its input; the caller holds ``changed``."""
        launched = self._launched
        if self.over or launched is None or launched.stdin < 0 or self._writes:
            return
        if self.feed or self.feed.closing:
            handler = functools.partial(self._write, launched.stdin)
            self._engine.watch(self, launched.stdin, engines.WRITE, handler)
            self._writes = True

    def resize(self, rows: int, cols: int) -> bool:
        """Give its terminal another size; return whether it still has one."""
        with self.changed:
            launched = self._launched
            if self.over or launched is None or launched.terminal < 0:
                return False
            terminal.resize(launched.terminal, rows, cols)
            return True

    def resume(self) -> None:
        """Read on what waited for readers; the caller holds ``changed``."""
        now = time.monotonic()
        for fd in list(self._paused):
            stream = self._open[fd]
            if stream.room(now) > 0:
                self._paused.discard(fd)
                self._watch_output(fd, stream)

    @property
    def seconds(self) -> float:
        """For how long it has run."""
        until = self._over_at if self.over else time.monotonic()
        return round(until - self._began, 6)

    @property
    def input_open(self) -> bool:
        """Whether its input takes more."""
        return not (self.over or self.feed.closing)

    @property
    def unread(self) -> bool:
        """Whether there is something that nobody has read."""
        return any(each.read_to < each.total for each in self.outputs.values())

    def due(self) -> float:
        """Return when :meth:`step` is to be called, as :func:`time.monotonic`."""
        with self.changed:
            if self.over:
                return math.inf if self.forgotten else self._over_at + self._retain
            if self._launched is None:
                return math.inf
            if self._asked is not None and self._sent is None:
                return 0.0
            due = math.inf if self._exited else self._deadline
            if self._gone_at is not None:
                due = self._gone_at + DRAIN_SECONDS
            elif self._sent is not None or self._exit_fd is None:
                due = self._stepped + TICK
            return min([due, *(self._open[fd].leaves() for fd in self._paused)])

    def look(self) -> None:
        """See whether it has ended, without waiting for the engine's thread to.

        Whoever asks again and again would keep that thread from seeing it soon.  The
        caller holds ``changed``.
        """
        if self._launched is None or self.over or not _has_exited(self.pid):
            return
        for fd, stream in list(self._open.items()):
            if fd not in self._paused:
                self._read(fd, stream)
        try:
            self.step()
        except errors.GuestError as error:
            self._fail(error)

    def step(self) -> None:
        """Send the signal that is due, or note the end.

        :raises guestagent.errors.GuestError: it cannot be made to end.
        """
        with self.changed:
            if self.over:
                if time.monotonic() >= self._over_at + self._retain:
                    self.forget()
            elif self._launched is not None:
                self._stepped = time.monotonic()
                self.resume()
                if self._is_over(self._stepped):
                    self._finish(self._launched)

    def fail(self, error: errors.GuestAgentError) -> None:
        """Give it up."""
        with self.changed:
            self._fail(error)

    def forget(self) -> None:
        """Let go of what was kept after its end; the caller holds ``changed``."""
        self.forgotten = True
        for stream in self.outputs.values():
            stream.discard()
        self._engine.leave(self)

    def _watch_all(self, launched: launch.Launched) -> None:
        try:
            self._exit_fd = os.pidfd_open(self.pid)
        except OSError:
            pass  # a kernel before 5.3, or a sandbox: due() makes up for it
        else:
            # One look is enough; what it means is for step() to see.
            seen = functools.partial(self._engine.forget, self._exit_fd)
            self._engine.watch(self, self._exit_fd, engines.READ, seen)
        for fd, stream in self._open.items():
            self._watch_output(fd, stream)
        self.write_more()

    def _watch_output(self, fd: int, stream: output.Output) -> None:
        handler = functools.partial(self._read, fd, stream)
        self._engine.watch(self, fd, engines.READ, handler)

    def _read(self, fd: int, stream: output.Output) -> None:
        with self.changed:
            if fd not in self._open:
                return
            room = stream.room(time.monotonic())
            if room <= 0:
                # Its end would be told again and again, if it were watched.
                self._engine.forget(fd)
                self._paused.add(fd)
                return
            try:
                chunk = os.read(fd, min(CHUNK, room))
            except BlockingIOError:
                return
            except OSError:
                chunk = b''  # a terminal that nobody has open any more
            if chunk:
                stream.feed(chunk)
            else:
                self._close_output(fd)
            self.changed.notify_all()

    def _close_output(self, fd: int) -> None:
        self._engine.forget(fd)
        del self._open[fd]
        # A terminal that is closed hangs up: on a program, too, that is about to end
        # and has closed its own ends already.
        if self._launched is None or fd != self._launched.terminal:
            os.close(fd)

    def _write(self, fd: int) -> None:
        with self.changed:
            launched = self._launched
            if launched is None or launched.stdin != fd:
                return
            try:
                self.feed.done(os.write(fd, self.feed.next(CHUNK)))
            except BlockingIOError:
                return
            except OSError:
                self.feed.drop()  # it wants no more
            if not self.feed:
                self._engine.forget(fd)
                self._writes = False
                if self.feed.closing:
                    launched.stdin = -1
                    os.close(fd)
            self.changed.notify_all()

    def _is_over(self, now: float) -> bool:
        """Send the signal that is due; return whether nothing is left to wait for."""
        self._exited = self._exited or _has_exited(self.pid)
        if self._asked is None and not self._exited and now >= self._deadline:
            self.timed_out = True
        pressed = self._asked is not None or self.timed_out
        # Who ends by itself may leave others behind; who is made to end may not.
        gone = self._exited and not (pressed and session.members(self.pid))
        if not gone:
            self._gone_at = None
            if pressed:
                self._press(now)
            return False
        if self._gone_at is None:
            self._gone_at = now
            self._drain()
        return not self._open or now >= self._gone_at + DRAIN_SECONDS

    def _drain(self) -> None:
        """Let what is still in the pipes come, though readers may lag behind."""
        if not self._drained:
            self._drained = True
            for stream in self._open.values():
                stream.widen(PIPE_MAX)
            self.resume()

    def _press(self, now: float) -> None:
        """Send SIGTERM once, and SIGKILL from the end of the grace on."""
        if self._sent is None:
            self.ended = not self.timed_out
            self._kill_at = now + self._kill_grace
            self._send(signals.SIGTERM)
        if now < self._kill_at and self._asked is not signals.SIGKILL:
            return
        if self._sent is signals.SIGTERM:
            self._kill_at = now
        elif now >= self._kill_at + KILL_SECONDS:
            raise errors.GuestError(
                f'process {self.pid} does not end even by SIGKILL; it hangs in the '
                f'kernel'
            )
        # Each time: what was started meanwhile may have missed the last one.
        self._send(signals.SIGKILL)

    def _send(self, number: signals.Signals) -> None:
        self._sent = number
        session.kill(self.pid, number)

    def _fail(self, error: errors.GuestAgentError) -> None:
        if self._launched is not None and not self.over:
            self.error = error
            if not self._exited:
                session.kill(self.pid, signals.SIGKILL)
            self._finish(self._launched)

    def _finish(self, launched: launch.Launched) -> None:
        """Close every descriptor, reap the leader, and tell who waits."""
        self.detached = bool(self._open)
        if self._exit_fd is not None:
            self._engine.forget(self._exit_fd)
            os.close(self._exit_fd)
        for fd in launched.descriptors(self._open):
            self._engine.forget(fd)
            os.close(fd)
        self._open.clear()
        self._paused.clear()
        launched.stdin = -1
        self.feed.drop()
        if self._exited:
            self.code = launched.process.wait()
        self.over, self._over_at = True, time.monotonic()
        if not self._retain:
            self.forgotten = True
            self._engine.leave(self)
        self.changed.notify_all()
        if self.at_end is not None:
            self.at_end()


def _has_exited(process: int) -> bool:
    """Whether it has ended; it stays unreaped."""
    return (
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    )
