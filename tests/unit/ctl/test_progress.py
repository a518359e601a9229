# SPDX-License-Identifier: Apache-2.0
"""The sign of life: on a terminal, after a while, and gone when the wait is over."""

import io
import os
import threading

import pytest

from guestagent.ctl import progress


class Screen(io.StringIO):
    """A stream that says whether it is a terminal, and that it has been written to."""

    def __init__(self, terminal: bool = True) -> None:
        super().__init__()
        self._terminal = terminal
        self.written = threading.Semaphore(0)

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        raise OSError('no file')

    def flush(self) -> None:
        self.written.release()


def test_it_is_shown_and_gone() -> None:
    screen = Screen()

    with progress.SignOfLife(screen, 'waiting for vm-1', delay=0) as sign:
        assert screen.written.acquire(timeout=30)
        sign.say('vm-1 is at work')
        while 'at work' not in screen.getvalue():
            assert screen.written.acquire(timeout=30)

    shown = screen.getvalue().split('\r\x1b[K')
    assert shown[:2] == ['', 'waiting for vm-1 (0 s)']
    assert shown[-1] == ''
    assert not any('\n' in line for line in shown)


def test_what_is_quick_needs_none() -> None:
    screen = Screen()

    with progress.SignOfLife(screen, 'waiting', delay=60):
        pass

    assert screen.getvalue() == ''


def test_none_where_nobody_looks() -> None:
    screen = Screen(terminal=False)
    before = threading.active_count()

    with progress.SignOfLife(screen, 'waiting', delay=0):
        assert threading.active_count() == before

    assert screen.getvalue() == ''


def test_a_terminal_that_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tried = threading.Event()
    with open(writer, 'w') as pipe:

        class Gone(Screen):
            def write(self, text: str) -> int:
                tried.set()
                return os.write(pipe.fileno(), text.encode())

        with progress.SignOfLife(Gone(), 'waiting', delay=0):
            assert tried.wait(30)


@pytest.mark.parametrize(
    ('seconds', 'width', 'line'),
    [
        (0.9, 80, 'waiting for vm-1 (0 s)'),
        (125, 80, 'waiting for vm-1 (2 min 5 s)'),
        (7260, 80, 'waiting for vm-1 (2 h 1 min)'),
        (5, 16, 'waiting … (5 s)'),
        (5, 3, '… '),
    ],
)
def test_the_line(seconds: float, width: int, line: str) -> None:
    assert progress._line('waiting for vm-1', seconds, width) == line


@pytest.mark.parametrize(
    ('percent', 'shown'),
    [
        (0, '[--------------------]   0 %'),
        (42.9, '[########------------]  42 %'),
        (99.9, '[###################-]  99 %'),
        (100, '[####################] 100 %'),
        (1e9, '[####################] 100 %'),
        (-5, '[--------------------]   0 %'),
    ],
)
def test_a_bar(percent: float, shown: str) -> None:
    assert progress.bar(percent) == shown
