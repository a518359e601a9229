# SPDX-License-Identifier: Apache-2.0
"""A command from its start to its end: fed, read, and ended in time.

All happens on the thread that waits for it, in one poll.  A command ends by itself,
or its whole session is told to end (SIGTERM) and then made to (SIGKILL); its leader
is reaped last, so that no signal can meet a stranger.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guestagent import errors
from guestagent_exec import output, session

if TYPE_CHECKING:
    import subprocess

#: Seconds that a left-behind process which holds the outputs open is waited for.
DRAIN_SECONDS = 0.5
#: Seconds until a process that does not even end by SIGKILL is given up.
KILL_SECONDS = 5.0
#: Seconds between two looks where the kernel gives no notice.
TICK = 0.05
CHUNK = 64 * 1024


class _Wake:
    """Lets other threads interrupt a poll; harmless when the poll is over."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open = True
        self._lock = threading.Lock()

    def set(self) -> None:
        with self._lock:
            if self._open:
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self.fd)


class Run:
    """One command; it belongs to one thread, except for :meth:`end`.

    It is made before the command is started, so that nothing that can fail stands
    between the start and :meth:`wait`.

    :ivar timed_out: its time was over before it ended.
    :ivar ended: it was told to end by :meth:`end`, and had not ended before.
    """

    def __init__(self, output_limit: int, kill_grace: float) -> None:
        self.timed_out = False
        self.ended = False
        self._outputs = {
            'stdout': output.Output(output_limit),
            'stderr': output.Output(output_limit),
        }
        self._kill_grace = kill_grace
        self._asked: signal.Signals | None = None  # by another thread
        self._sent: signal.Signals | None = None
        self._kill_at = 0.0
        self._deadline = 0.0
        self._exited = False
        self._gone_at: float | None = None
        self._open = 0
        self._wake = _Wake()
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._exit_fd: int | None = None
        self._process: subprocess.Popen[bytes]
        self._input: memoryview

    def end(self, at_once: bool = False) -> None:
        """Let the whole session be ended soon; from any thread, at any time.

        :param at_once: without a grace.
        """
        self._asked = signal.SIGKILL if at_once else signal.SIGTERM
        self._wake.set()

    def close(self) -> None:
        """Let go of what the run itself holds; call it in any case."""
        self._wake.close()

    def wait(
        self, process: subprocess.Popen[bytes], stdin: bytes, timeout: float
    ) -> dict[str, Any]:
        """Wait for the end of a command; return the result of ``exec.run``.

        :param stdin: what it reads, if it has a pipe for it.
        :param timeout: seconds until it is made to end.
        :raises guestagent.errors.GuestError: it cannot be made to end.
        """
        began = time.monotonic()
        self._deadline = began + timeout
        self._process = process
        self._input = memoryview(stdin)
        try:
            self._watch_all()
            while not self._is_over():
                for fd, _events in self._poll.poll(self._patience()):
                    self._handlers[fd](fd)
            seconds = time.monotonic() - began
        finally:
            self._close()
        return self._result(process.wait(), seconds)

    def _result(self, code: int, seconds: float) -> dict[str, Any]:
        result: dict[str, Any] = {
            'exit_code': code if code >= 0 else None,
            'signal': -code if code < 0 else None,
            'signal_name': _signal_name(-code) if code < 0 else None,
            'timed_out': self.timed_out,
            'detached': self._open > 0,
            'seconds': round(seconds, 6),
        }
        for name, stream in self._outputs.items():
            result.update(stream.result(name))
        return result

    def _watch_all(self) -> None:
        process = self._process
        self._watch(self._wake.fd, select.POLLIN, os.eventfd_read)
        try:
            self._exit_fd = os.pidfd_open(process.pid)
        except OSError:
            pass  # a kernel before 5.3, or a sandbox: _patience() makes up for it
        else:
            self._watch(self._exit_fd, select.POLLIN, self._forget)
        for name, stream in self._outputs.items():
            self._watch(
                getattr(process, name).fileno(),
                select.POLLIN,
                functools.partial(self._read, stream),
            )
            self._open += 1
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._watch(process.stdin.fileno(), select.POLLOUT, self._write)

    def _watch(self, fd: int, events: int, handler: Callable[[int], Any]) -> None:
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._handlers[fd]

    def _read(self, stream: output.Output, fd: int) -> None:
        chunk = os.read(fd, CHUNK)
        if chunk:
            stream.feed(chunk)
        else:
            self._forget(fd)
            self._open -= 1

    def _write(self, fd: int) -> None:
        try:
            self._input = self._input[os.write(fd, self._input) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]  # it wants no more
        if not self._input and self._process.stdin is not None:
            self._forget(fd)
            self._process.stdin.close()

    def _is_over(self) -> bool:
        """Send the signal that is due; return whether nothing is left to wait for."""
        now = time.monotonic()
        self._exited = self._exited or _has_exited(self._process.pid)
        if self._asked is None and not self._exited and now >= self._deadline:
            self.timed_out = True
        pressed = self._asked is not None or self.timed_out
        # Who ends by itself may leave others behind; who is made to end may not.
        gone = self._exited and not (pressed and session.members(self._process.pid))
        if not gone:
            self._gone_at = None
            if pressed:
                self._press(now)
            return False
        if self._gone_at is None:
            self._gone_at = now
        return not self._open or now >= self._gone_at + DRAIN_SECONDS

    def _press(self, now: float) -> None:
        """Send SIGTERM once, and SIGKILL from the end of the grace on."""
        if self._sent is None:
            self.ended = not self.timed_out
            self._kill_at = now + self._kill_grace
            self._send(signal.SIGTERM)
        if now < self._kill_at and self._asked is not signal.SIGKILL:
            return
        if self._sent is signal.SIGTERM:
            self._kill_at = now
        elif now >= self._kill_at + KILL_SECONDS:
            raise errors.GuestError(
                f'process {self._process.pid} does not end even by SIGKILL; it hangs '
                f'in the kernel'
            )
        # Each time: what was started meanwhile may have missed the last one.
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        self._sent = number
        session.kill(self._process.pid, number)

    def _patience(self) -> float:
        """Return how many milliseconds to wait for something to happen."""
        now = time.monotonic()
        if self._gone_at is not None:
            left = self._gone_at + DRAIN_SECONDS - now
        elif self._sent is not None:
            left = TICK
        else:
            left = self._deadline - now
            if self._exit_fd is None:
                left = min(left, TICK)
        # Rounded up, or the last millisecond would be spun away.
        return max(0.0, left * 1000) + 1

    def _close(self) -> None:
        """Close every descriptor; what could not be waited for is killed."""
        process = self._process
        if not self._exited:
            session.kill(process.pid, signal.SIGKILL)
        if self._exit_fd is not None:
            os.close(self._exit_fd)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _has_exited(process: int) -> bool:
    """Whether it has ended; it stays unreaped."""
    return (
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'SIGRTMIN+{number - signal.SIGRTMIN}'
