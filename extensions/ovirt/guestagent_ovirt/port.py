# SPDX-License-Identifier: Apache-2.0
"""The device at whose other end the host is, or is not; on the agent's loop.

A port of virtio-serial reads nothing, and its poll says hang-up, for as long as nobody
has opened its other end (drivers/char/virtio_console.c); then it is looked at once a
second.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from guestagent import loop as loops

LOG = logging.getLogger(__name__)

READ_SIZE = 64 * 1024
#: So many bytes may wait for a host that does not read; then lines are dropped.
UNSENT_MAX = 2 * 1024 * 1024
#: Seconds until a host that has gone, or a device that cannot be opened, is looked for.
AWAY_SECONDS = 1.0
RETRY_SECONDS = 5.0


class Port:
    """Reads what comes and writes whole lines, as far as somebody is there.

    :param find: returns the device's path.
    :param gone: called when the host has gone.
    """

    def __init__(
        self,
        loop: loops.Loop,
        find: Callable[[], str],
        received: Callable[[bytes], None],
        gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._find = find
        self._received = received
        self._gone = gone
        self._fd = -1
        self._out = bytearray()
        self._torn = False
        self._events = 0
        self._timer: loops.Timer | None = None
        #: Why there is no device, or ``''``.
        self.problem = ''
        #: How many lines nobody took.
        self.dropped = 0

    def open(self) -> None:
        """Open the device, now or as soon as that can be."""
        path = self._find()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            problem = f'{path} cannot be opened: {error.strerror}'
            if problem != self.problem:
                LOG.warning('%s; it is tried again every %g s', problem, RETRY_SECONDS)
            self.problem = problem
            self._timer = self._loop.call_later(RETRY_SECONDS, self.open)
            return
        LOG.info('%s is open', path)
        self.problem = ''
        self._watch()

    def send(self, line: bytes) -> None:
        """Send a line as soon as somebody reads; it never waits."""
        if len(self._out) + len(line) > UNSENT_MAX:
            self.dropped += 1
            return
        self._out += line
        if self._events:
            self._write_or_leave()

    def close(self) -> None:
        """Send what is taken at once, and close the device."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._stop_watching()
            os.close(self._fd)
            self._fd = -1

    def _watch(self) -> None:
        wanted = loops.READ | (loops.WRITE if self._out else 0)
        if wanted != self._events:
            self._events = wanted
            self._loop.watch(self._fd, wanted, self._ready)

    def _stop_watching(self) -> None:
        if self._events:
            self._events = 0
            self._loop.unwatch(self._fd)

    def _ready(self, events: int) -> None:
        try:
            if events & ~loops.WRITE:
                data = os.read(self._fd, READ_SIZE)
                if not data:
                    self._leave()
                    return
                self._received(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)
            return
        if self._events:
            self._write_or_leave()

    def _write_or_leave(self) -> None:
        try:
            while self._out:
                sent = os.write(self._fd, self._out)
                self._torn = self._out[sent - 1 : sent] != b'\n'
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)
            return
        self._watch()

    def _leave(self) -> None:
        """Wait for a host; who comes gets nothing that was for another."""
        self._stop_watching()
        # Half a line that went out is ended, or the next one would be lost with it.
        self._out = bytearray(b'\n' if self._torn else b'')
        self._gone()
        self._timer = self._loop.call_later(AWAY_SECONDS, self._look)

    def _look(self) -> None:
        """Wait on for who comes, at the device that has the name by now."""
        try:
            same = os.stat(self._find()).st_rdev == os.fstat(self._fd).st_rdev
        except OSError:
            same = False  # it was taken out
        if same:
            self._watch()
        else:
            self._reopen()

    def _reopen(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self._out.clear()
        self.open()

    def _fail(self, error: OSError) -> None:
        LOG.warning('the device failed and is opened again: %s', error.strerror)
        self._stop_watching()
        self._gone()
        self._timer = self._loop.call_later(AWAY_SECONDS, self._reopen)
