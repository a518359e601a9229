# SPDX-License-Identifier: Apache-2.0
"""Pseudoterminals."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

_KEYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP)


def open_pair(rows: int, cols: int, owner: int | None) -> tuple[int, int]:
    """Return our end of a new terminal, and the program's.

    :param owner: the user that the program runs as, if that is another.
    :raises OSError: the guest is short of what it takes.
    """
    ours, theirs = os.openpty()
    try:
        resize(ours, rows, cols)
        os.set_blocking(ours, False)
        if owner is not None:
            os.fchown(theirs, owner, -1)
    except OSError:
        os.close(ours)
        os.close(theirs)
        raise
    return ours, theirs


def resize(fd: int, rows: int, cols: int) -> None:
    """Set the size of a terminal; its foreground processes get SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))


def control() -> None:
    """Make the terminal at descriptor 0 that of this session; before exec(2).

    The keys that send signals count, though whoever started the agent, as a shell does
    in the background, may have it ignore these.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in _KEYS:
        signal.signal(number, signal.SIG_DFL)
