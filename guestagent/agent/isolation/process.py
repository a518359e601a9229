# SPDX-License-Identifier: Apache-2.0
"""A child process with its three pipes, and the one thread that listens to it.

The thread reads what the process writes, writes what did not fit into the pipe at once,
keeps the deadlines, and sees the end.  Who waits for an answer reads in its stead where
it can (:meth:`Process.lead`): to be woken by it would take longer than a short command.
The process leads a session of its own, so that what it forks ends with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from guestagent.agent.isolation import launching, limits, stdio, words

LOG = logging.getLogger(__name__)

#: Seconds from the request to stop until SIGTERM, and from that until SIGKILL.
STOP_SECONDS, TERM_SECONDS = 5.0, 2.0

#: How many messages that nobody asked for are read in a second.
FLOOD = 1000

#: How many bytes may wait for a process that does not read.
UNREAD_MAX = 64 * 1024 * 1024

_Data = bytes | memoryview

_CHUNK = 65536
#: How many chunks a pipe may still hold when the process has ended.
_LEFT = 32


class End(NamedTuple):
    """How a process ended.

    :ivar reason: in a few words.
    :ivar stderr: its last lines there, the newest last.
    :ivar wanted: whether it was asked to stop.
    """

    reason: str
    stderr: list[str]
    wanted: bool


class Process:
    """A running process.

    :param took: is given each message, and says whether anybody had asked for it; on
        a thread that reads for all, so not for long.
    :param ended: is told of the end, once, after the last message.
    :raises OSError: the guest is short of what it takes.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        bounds: limits.Limits,
        took: Callable[[stdio.Message], bool],
        ended: Callable[[End], None],
    ) -> None:
        self._name = name
        self._took, self._told = took, ended
        self._lines = stdio.Lines()
        self._words = words.Words(name)
        self._lock = threading.Lock()
        # Who has it reads stdout; taken before the other.
        self._reading = threading.Lock()
        self._hearing = True
        self._unsent: list[_Data] = []
        self._unread = 0
        self._deadlines: list[tuple[float, Callable[[], None]]] = []
        self._first: float | None = None
        self._messages = words.Rate()
        self._fault = ''
        self._stopping = self._over = False
        self.ended = threading.Event()
        self._wake_up = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._child = launching.start(name, argv, bounds)
        except OSError:
            os.close(self._wake_up)
            raise
        self._pipes = self._child.pipes
        self._poll = select.epoll()
        for fd in (self._pipes.stdout, self._pipes.stderr, self._pipes.pidfd):
            self._poll.register(fd, select.EPOLLIN)
        self._poll.register(self._wake_up, select.EPOLLIN)
        self._answers = select.poll()
        for fd in (self._pipes.stdout, self._pipes.pidfd):
            self._answers.register(fd, select.POLLIN)
        threading.Thread(
            target=self._run, name=f'extension {name}', daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """Its id, which another may have when it has ended."""
        return self._pipes.pid

    def send(self, message: stdio.Message) -> None:
        """Send a message, now or when there is room; to one that ended: nowhere.

        :raises TypeError, ValueError, RecursionError: JSON cannot carry it.
        """
        data: _Data = stdio.encode(message)
        with self._lock:
            if self._over:
                return
            if not self._unsent:
                data = self._write(data)
            if not data:
                return
            self._unsent.append(data)
            self._unread += len(data)
            deaf = self._unread > UNREAD_MAX
        if deaf:
            self.kill('it does not read what it is sent')
        self._wake()

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back in so many seconds on the thread that listens, if it still does."""
        with self._lock:
            if self._over:
                return
            due = time.monotonic() + seconds
            self._deadlines.append((due, call))
            self._first = due if self._first is None else min(due, self._first)
        self._wake()

    def lead(self, answered: Callable[[], bool]) -> None:
        """Read what the process writes until one's own answer has come, or cannot.

        It returns at once where another does so already.

        :param answered: whether it has come.
        """
        if not self._reading.acquire(blocking=False):
            return
        try:
            if self._hearing and not self._over:
                self._poll.unregister(self._pipes.stdout)
                self._read_until(answered)
                if self._hearing:
                    self._poll.register(self._pipes.stdout, select.EPOLLIN)
        except Exception:  # noqa: BLE001 (logged there)
            self._give_up()
        finally:
            self._reading.release()

    def stop(self, message: stdio.Message) -> None:
        """Ask it to end by ``message``; make it if it does not."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self.send(message)
        self.at(STOP_SECONDS, lambda: self._signal(signal.SIGTERM))
        self.at(STOP_SECONDS + TERM_SECONDS, lambda: self._signal(signal.SIGKILL))

    def kill(self, fault: str) -> None:
        """End it at once for what it did; from any thread."""
        self._fault = self._fault or fault
        self._signal(signal.SIGKILL)

    def _write(self, data: _Data) -> _Data:
        """Write what the pipe takes; return the rest.  Under the lock."""
        try:
            written = os.write(self._pipes.stdin, data)
        except BlockingIOError:
            return data
        except BrokenPipeError:
            return b''  # it reads no more: its end will be seen, or its silence
        return b'' if written == len(data) else memoryview(data)[written:]

    def _wake(self) -> None:
        with self._lock:
            if not self._over:
                os.eventfd_write(self._wake_up, 1)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process and what it has forked in its session."""
        with self._lock:
            if not self._over:
                self._child.signal(number)

    def _run(self) -> None:
        """Listen until the process has ended; the thread."""
        try:
            while not self._turn():
                pass
            self._drain()
        except Exception:  # noqa: BLE001 (logged there)
            self._give_up()
        self._finish()

    def _give_up(self) -> None:
        """End a process after an error of ours; where that is handled."""
        LOG.exception('extension %s: what it sent could not be taken', self._name)
        self.kill('the agent failed to listen to it')

    def _turn(self) -> bool:
        """Wait for what comes next and do it; return whether the process has ended."""
        over = False
        for fd, _ in self._poll.poll(self._timeout()):
            if fd == self._pipes.stdout:
                self._hear()
            elif fd == self._pipes.stderr:
                self._read_stderr()
            elif fd == self._pipes.stdin:
                self._flush(True)
            elif fd == self._pipes.pidfd:
                over = True
            else:
                os.eventfd_read(self._wake_up)
                self._flush(False)
        for call in self._due():
            call()
        return over

    def _timeout(self) -> float | None:
        """Return the seconds until the next deadline."""
        first = self._first
        if first is None:
            return None
        return max(0.0, first - time.monotonic()) + 0.001

    def _due(self) -> list[Callable[[], None]]:
        """Return what is due, and forget it."""
        now = time.monotonic()
        if self._first is None or now < self._first:
            return []
        with self._lock:
            due = [call for when, call in self._deadlines if when <= now]
            self._deadlines = [each for each in self._deadlines if each[0] > now]
            self._first = min((when for when, _ in self._deadlines), default=None)
        return due

    def _flush(self, ready: bool) -> None:
        """Write what waits; have the poll tell when there is room for more."""
        with self._lock:
            while self._unsent:
                before = len(self._unsent[0])
                self._unsent[0] = self._write(self._unsent[0])
                self._unread -= before - len(self._unsent[0])
                if self._unsent[0]:
                    with contextlib.suppress(FileExistsError):
                        self._poll.register(self._pipes.stdin, select.EPOLLOUT)
                    return
                del self._unsent[0]
        if ready:
            self._poll.unregister(self._pipes.stdin)

    def _hear(self) -> None:
        """Take what has come, unless another reads."""
        if self._reading.acquire(blocking=False):
            try:
                if self._hearing:
                    self._read_stdout()
            finally:
                self._reading.release()

    def _read_until(self, answered: Callable[[], bool]) -> None:
        """Take what comes until there is an answer, or the process has ended."""
        while self._hearing and not answered():
            for fd, _ in self._answers.poll():
                if fd == self._pipes.pidfd:
                    return  # what it has left is for the thread that listens
                self._read_stdout()

    def _read_stdout(self) -> bool:
        """Take what has come; return whether there may be more.  Only who reads."""
        data = _read(self._pipes.stdout)
        if not data:
            return self._no_more_stdout(data)
        try:
            for message in self._lines.feed(data):
                if not self._took(message):
                    self._bound()
        except stdio.Broken as error:
            self._deafen()
            self.kill(str(error))
            return False
        return True

    def _no_more_stdout(self, data: bytes | None) -> bool:
        if data is not None:
            self._deafen()
            # Its end follows, if it meant to; else it has left us.
            self.at(TERM_SECONDS, self._judge_silence)
        return False

    def _judge_silence(self) -> None:
        if not self._stopping:
            self.kill('it closed its output')

    def _deafen(self) -> None:
        """Read no more of what it writes."""
        self._hearing = False
        self._ignore(self._pipes.stdout)

    def _ignore(self, fd: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._poll.unregister(fd)

    def _bound(self) -> None:
        """Let one that floods wait: its pipe fills, and it blocks."""
        if self._messages.add() != FLOOD:
            return
        LOG.warning(
            'extension %s sends more than %d messages a second; it is held back',
            self._name,
            FLOOD,
        )
        self._deafen()
        self.at(1.0, self._hear_again)

    def _hear_again(self) -> None:
        with self._reading:
            self._hearing = True
            self._poll.register(self._pipes.stdout, select.EPOLLIN)

    def _read_stderr(self) -> bool:
        """Keep and log what has come; return whether there may be more."""
        stderr = self._pipes.stderr
        data = _read(stderr)
        if data is not None:
            flood = self._words.take(data)
            if flood or not data:
                self._ignore(stderr)
            if flood:
                self.at(1.0, lambda: self._poll.register(stderr, select.EPOLLIN))
        return bool(data)

    def _drain(self) -> None:
        """End what it forked, and read what is left."""
        # The group of a leader that was not waited for is still its own.
        self._signal(signal.SIGKILL)
        with self._reading:
            for read in (self._read_stdout, self._read_stderr):
                for _ in range(_LEFT):
                    if not read():
                        break

    def _finish(self) -> None:
        """Wait for its end, and tell."""
        with self._reading, self._lock:
            code, exhausted = self._child.wait()
            self._over = True
            self._unsent.clear()
            self._poll.close()
            self._pipes.close()
            os.close(self._wake_up)
        reason = self._reason(code, exhausted)
        wanted = self._stopping and not self._fault
        try:
            self._told(End(reason, list(self._words.tail), wanted))
        finally:
            self.ended.set()

    def _reason(self, code: int, exhausted: bool) -> str:
        if self._fault:
            return f'{self._fault}; it was killed'
        if code >= 0:
            return f'it ended with exit code {code}'
        name = _signal_name(-code)
        if exhausted:
            return f'it was killed by {name}: its memory was used up'
        return f'it was killed by {name}'


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'  # one of those for real time


def _read(fd: int) -> bytes | None:
    """Return what has come, empty at the end, ``None`` if nothing has."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
