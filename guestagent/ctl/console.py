# SPDX-License-Identifier: Apache-2.0
"""A program of a guest shown while it runs: its outputs, our input and signals.

The main thread asks the guest nothing meanwhile: Ctrl-C would cut it short somewhere in
the libraries of the bus, which then would not serve the rest.
"""

import base64
import contextlib
import math
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

from guestagent import errors

if TYPE_CHECKING:
    from guestagent import client

#: The version of ``exec`` that has what is asked here.
VERSION = '1.1'
#: Ctrl-]: leaves a program that has the terminal.
ESCAPE = b'\x1d'

#: The longest that the guest waits for something to tell, in seconds, so it is not in
#: the way of an agent that is to stop; and how long we wait where it answers at once
#: although there is nothing.
_WAIT, _PAUSE = 5.0, 0.2
#: The longest wait of the main thread, in seconds.
_STEP = 0.5
#: Seconds for what is asked beside the main thing.
_ASIDE = 10.0
_CHUNK = 256 * 1024


#: What may happen while a program is followed, beside its end.
_INTERRUPTED, _LEFT = 'interrupted', 'left'

#: Of this kind: a handler of a signal may put something into it at any time.
Happened = queue.SimpleQueue[Any]


class Left(Exception):
    """Somebody has left the program; it goes on."""


@contextlib.contextmanager
def hearing(happened: Happened) -> Iterator[None]:
    """Have Ctrl-C cut nothing short within: it is put into ``happened``."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        happened.put(_INTERRUPTED)

    with _handling(signal.SIGINT, interrupt):
        yield


def answer(
    happened: Happened, call: Callable[[], Any], cancel: Callable[[], None]
) -> Any:
    """Return what ``call`` returns; Ctrl-C meanwhile has ``cancel`` called beside it.

    Where there is an answer all the same, Ctrl-C stands in ``happened`` again: what was
    started can be told.

    :raises KeyboardInterrupt: Ctrl-C, and then no answer, or a second one.
    """

    def ask() -> None:
        try:
            happened.put((call(), None))
        except Exception as error:  # noqa: BLE001 the other thread raises it
            happened.put((None, error))

    _aside(ask)
    found = _next(happened)
    if found != _INTERRUPTED:
        result, error = found
        if error is not None:
            raise error
        return result
    _aside(cancel)
    try:
        found = _next(happened, _ASIDE)
    except queue.Empty:
        raise KeyboardInterrupt from None
    if found == _INTERRUPTED or found[1] is not None:
        raise KeyboardInterrupt
    happened.put(_INTERRUPTED)
    return found[0]


class Console:
    """One program that is followed.

    :param timeout: seconds for an answer of the guest.
    :param outputs: where ``stdout`` and ``stderr`` go.
    :param happened: see :func:`hearing`.
    :param limit: how many bytes of each are shown.
    :ivar handle: of the program.
    :ivar cut: those of which there were more.
    :ivar taken: how many bytes it was given to read.
    :ivar lost: how many bytes of each stream the guest has dropped.
    """

    def __init__(
        self,
        guests: 'client.Client',
        instance: str,
        handle: str,
        timeout: float,
        outputs: Mapping[str, BinaryIO],
        happened: Happened,
        limit: int = sys.maxsize,
    ) -> None:
        self._guests = guests
        self._instance = instance
        self.handle = handle
        self._timeout = timeout
        self._outputs = outputs
        self._left = dict.fromkeys(outputs, limit)
        self.cut: set[str] = set()
        self._reader = uuid.uuid4().hex
        self._happened = happened
        self.taken = 0
        self.lost = dict.fromkeys(outputs, 0)

    def ask(self, verb: str, timeout: float | None = None, **arguments: Any) -> Any:
        """Return what a command of ``exec`` says of the program.

        :raises guestagent.errors.GuestAgentError: it says that it failed.
        """
        return self._guests.call(
            self._instance,
            f'exec.{verb}',
            {'handle': self.handle, **arguments},
            version=VERSION,
            timeout=timeout or self._timeout,
        )

    def follow(self, forward: bool = False) -> dict[str, Any]:
        """Show what it writes until it has ended; return its status.

        :param forward: pass on the first Ctrl-C, as SIGINT; the second is ours.
        :raises guestagent.errors.GuestAgentError: the guest does not tell.
        :raises BrokenPipeError: nobody reads what it writes.
        :raises KeyboardInterrupt: Ctrl-C that is ours.
        :raises Left: somebody has left it.
        """
        _aside(self._watch)
        while True:
            happened = _next(self._happened)
            if happened == _LEFT:
                raise Left
            if happened == _INTERRUPTED:
                if not forward:
                    raise KeyboardInterrupt
                forward = False
                _aside(self.signal, 'SIGINT')
            elif isinstance(happened, Exception):
                raise happened
            else:
                status: dict[str, Any] = happened
                return status

    def _watch(self) -> None:
        """Show what it writes until it has ended; on a thread."""
        try:
            self._happened.put(self._show_all())
        except Exception as error:  # noqa: BLE001 the other thread raises it
            self._happened.put(error)

    def _show_all(self) -> dict[str, Any]:
        offsets = dict.fromkeys(self._outputs, 0)
        wait = min(_WAIT, self._timeout / 2)
        while True:
            asked = time.monotonic()
            answer = self.ask(
                'poll',
                timeout=self._timeout + wait,
                offsets=offsets,
                wait=wait,
                count=_CHUNK,
                reader=self._reader,
            )
            moved = [self._show(name, answer[name], offsets) for name in offsets]
            if all(answer[name]['eof'] for name in offsets):
                status: dict[str, Any] = answer['status']
                return status
            if not any(moved) and time.monotonic() - asked < _PAUSE:
                time.sleep(_PAUSE)

    def _show(
        self, name: str, part: Mapping[str, Any], offsets: dict[str, int]
    ) -> bool:
        """Write a part of a stream; return whether there was anything."""
        data = base64.b64decode(part['data'])
        self.lost[name] += part['lost']
        offsets[name] = part['next']
        if len(data) > self._left[name]:
            self.cut.add(name)
        shown = data[: self._left[name]]
        self._left[name] -= len(shown)
        if shown:
            self._outputs[name].write(shown)
            self._outputs[name].flush()
        return bool(data)

    def feed(self, source: Callable[[], bytes], escape: bool = False) -> None:
        """Pass on all that ``source`` returns until it returns nothing.

        :param escape: :data:`ESCAPE` in it leaves the program.
        """
        # Whatever goes wrong, follow() meets it, too, or the program reads no more.
        with contextlib.suppress(errors.GuestAgentError):
            while data := source():
                if escape and ESCAPE in data:
                    self.leave()
                    return
                text = base64.b64encode(data).decode('ascii')
                answer = {'complete': False}
                while not answer['complete']:
                    answer = self.ask(
                        'write',
                        timeout=self._timeout + _WAIT,
                        data=text,
                        encoding='base64',
                        offset=self.taken,
                        wait=_WAIT,
                    )
                self.taken += len(data)
            self.ask('write', offset=self.taken, close=True)

    def leave(self) -> None:
        """Have :meth:`follow` end with :class:`Left`; from any thread."""
        self._happened.put(_LEFT)

    def signal(self, name: str) -> None:
        """Send a signal to the program, if it still runs and the guest answers."""
        with contextlib.suppress(errors.GuestAgentError):
            self.ask('signal', timeout=_ASIDE, signal=name)

    def forget(self) -> None:
        """Let the guest forget a program that has ended."""
        with contextlib.suppress(errors.GuestAgentError):
            self.ask('forget', timeout=_ASIDE)

    @contextlib.contextmanager
    def attached(
        self, source: Callable[[], bytes] | None, typed: bool = False
    ) -> Iterator[None]:
        """Connect our input with the program's within.

        :param source: of its input, see :meth:`feed`.
        :param typed: our standard input is a terminal, and becomes the program's.
        """
        with contextlib.ExitStack() as stack:
            if typed:
                stack.enter_context(self._terminal(sys.stdin.fileno()))
            if source is not None:
                _aside(self.feed, source, typed)
            yield

    @contextlib.contextmanager
    def _terminal(self, fd: int) -> Iterator[None]:
        """Give the program our terminal within: each key, and its size."""
        import termios
        import tty

        def resize(number: int, frame: FrameType | None) -> None:
            _aside(self._resize, *(terminal_size(fd) or (0, 0)))

        before = termios.tcgetattr(fd)
        try:
            # What was typed already is the program's, too.
            tty.setraw(fd, termios.TCSADRAIN)
            with _handling(signal.SIGWINCH, resize):
                yield
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _resize(self, rows: int, columns: int) -> None:
        with contextlib.suppress(errors.GuestAgentError):
            self.ask('resize', timeout=_ASIDE, rows=rows, cols=columns)


def terminal_size(fd: int) -> tuple[int, int] | None:
    """Return the rows and columns of a terminal; ``None``: it is none, or has none."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return None
    return (size.lines, size.columns) if size.lines and size.columns else None


def standard_input() -> Callable[[], bytes]:
    """Return what returns the next bytes of our input, as they come."""
    try:
        fd = sys.stdin.fileno()
    except OSError:
        return lambda: sys.stdin.buffer.read(_CHUNK)
    # Not by the buffer: a thread that has it locked would hold up our end.
    return lambda: os.read(fd, _CHUNK)


@contextlib.contextmanager
def _handling(
    number: signal.Signals, handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _next(happened: Happened, seconds: float = math.inf) -> Any:
    """Return what happens next.

    :raises queue.Empty: nothing did for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        # In steps: Python sees a signal that came just before a wait only after it.
        with contextlib.suppress(queue.Empty):
            return happened.get(timeout=_STEP)
        if time.monotonic() > deadline:
            raise queue.Empty


def _aside(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
