# SPDX-License-Identifier: Apache-2.0
"""A sign of life for a person who waits: one line, gone when the wait is over."""

import contextlib
import os
import threading
import time
from types import TracebackType
from typing import Self, TextIO

#: Nothing is shown before so many seconds: what is quick needs no sign.
DELAY = 1.0
#: Characters between the ends of a bar.
BAR_WIDTH = 20

_INTERVAL = 0.5
_CLEAR = '\r\x1b[K'


class SignOfLife:
    """A context manager that shows ``text`` and the time that has passed.

    It writes nothing where ``stream`` is no terminal.
    """

    def __init__(self, stream: TextIO, text: str, delay: float = DELAY) -> None:
        self._stream = stream
        self._text = text
        self._delay = delay
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread = threading.Thread(
                target=self._show, name='sign-of-life', daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def say(self, text: str) -> None:
        """Show this from now on."""
        self._text = text

    def _show(self) -> None:
        start = time.monotonic()
        if self._over.wait(self._delay):
            return
        with contextlib.suppress(OSError):
            # A terminal that has gone is nobody who waits.
            while not self._over.is_set():
                seconds = time.monotonic() - start
                self._write(_line(self._text, seconds, _width(self._stream)))
                self._over.wait(_INTERVAL)
            self._write('')

    def _write(self, line: str) -> None:
        self._stream.write(_CLEAR + line)
        self._stream.flush()


def bar(percent: float) -> str:
    """Return a bar of :data:`BAR_WIDTH` characters with its percent behind it."""
    share = min(max(percent / 100, 0.0), 1.0)
    done = int(share * BAR_WIDTH)
    return f'[{"#" * done}{"-" * (BAR_WIDTH - done)}] {int(share * 100):3} %'


def _line(text: str, seconds: float, width: int) -> str:
    """Return the line, cut to less than the width: it must not wrap."""
    passed = f' ({_elapsed(seconds)})'
    room = max(width - 1 - len(passed), 0)
    if len(text) > room:
        text = text[: max(room - 1, 0)] + '…'
    return (text + passed)[: max(width - 1, 0)]


def _elapsed(seconds: float) -> str:
    """Return a length of time as ``7 s``, ``2 min 5 s`` or ``3 h 0 min``."""
    whole = int(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
