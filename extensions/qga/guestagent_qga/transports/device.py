# SPDX-License-Identifier: Apache-2.0
"""A device with the host at its end: a port of virtio-serial, or a serial line."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable

from guestagent import loop as loops
from guestagent_qga import guest as guests
from guestagent_qga import session
from guestagent_qga.transports import connection

LOG = logging.getLogger(__name__)

#: A port whose host has gone is looked at after so many seconds, and then less often.
GONE_SECONDS = 0.1
GONE_SECONDS_MAX = 1.0
#: What cannot be opened is tried again after so many seconds.
RETRY_SECONDS = 5.0


class Device:
    """Opens a device and serves who is at the other end, one after the other.

    :param serial: whether it is a serial line, which is given its speed.
    :param retry: whether to open it again when it fails; else ``failed`` is called.
    """

    def __init__(
        self,
        loop: loops.Loop,
        path: str,
        guest: guests.Guest,
        work: session.Work,
        *,
        serial: bool = False,
        retry: bool = False,
        failed: Callable[[OSError], None],
    ) -> None:
        self._loop = loop
        self._path = path
        self._guest = guest
        self._work = work
        self._serial = serial
        self._retry = retry
        self._failed = failed
        self._connection: connection.Connection | None = None
        self._timer: loops.Timer | None = None
        self._gone_seconds = 0.0
        self._stopping = False
        self.problem = ''

    @property
    def is_idle(self) -> bool:
        """Whether each request has its answer."""
        return self._connection is None or self._connection.is_idle

    def start(self) -> None:
        """Open it.

        :raises OSError: it cannot be opened, and need not be.
        """
        try:
            self._open()
        except OSError as error:
            if not self._retry:
                raise
            self._try_later(error)

    def pause(self) -> None:
        """Take no more requests."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.pause()

    def stop(self) -> None:
        """Close it."""
        self.pause()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(self._path, flags)
        if self._serial:
            try:
                _set_line(descriptor)
            except OSError:
                os.close(descriptor)
                raise
        self._connection = connection.Connection(
            self._loop, descriptor, self._guest, self._work, self._ended
        )
        self.problem = ''

    def _ended(self, error: OSError | None) -> None:
        if self._connection is None:
            return
        if error is None and self._serial:
            error = OSError(errno.EIO, 'the line has been hung up')
        if error is None:
            # Nobody is attached.  The kernel reports that again and again.
            self._connection.reset()
            self._connection.pause()
            self._gone_seconds = min(
                max(self._gone_seconds * 2, GONE_SECONDS), GONE_SECONDS_MAX
            )
            self._later(self._gone_seconds, self._look_again)
            return
        self._connection.close()
        self._connection = None
        if self._retry:
            self._try_later(error)
        else:
            self._failed(error)

    def _look_again(self) -> None:
        if self._connection is not None:
            self._connection.pause(False)

    def _try_later(self, error: OSError) -> None:
        self.problem = f'{self._path}: {error.strerror or error}'
        LOG.warning('%s; it is tried again every %d s', self.problem, RETRY_SECONDS)
        self._later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        try:
            self._open()
        except OSError as error:
            self._try_later(error)

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        if not self._stopping:
            self._timer = self._loop.call_later(seconds, callback)


def _set_line(descriptor: int) -> None:
    """Make a serial line carry bytes as they are, at 38400 baud.

    :raises OSError: it is none.
    """
    import termios
    import tty

    try:
        tty.setraw(descriptor)
        attributes = termios.tcgetattr(descriptor)
        attributes[4] = attributes[5] = termios.B38400
        attributes[2] |= termios.CLOCAL | termios.CREAD
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        termios.tcflush(descriptor, termios.TCIFLUSH)
    except termios.error as error:
        raise OSError(*error.args) from None
