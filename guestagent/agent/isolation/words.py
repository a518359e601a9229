# SPDX-License-Identifier: Apache-2.0
"""What an extension's process writes to its standard error: logged, the end kept."""

from __future__ import annotations

import collections
import logging
import time

LOG = logging.getLogger(__name__)

#: What is kept of the last lines: how many, and how much of each.
TAIL_LINES, TAIL_LENGTH = 20, 400

#: How many bytes are read in a second.
FLOOD = 8 * 1024 * 1024

#: How many lines are logged in a second.
LOGGED = 100


class Words:
    """Makes lines of the bytes that come; does not read them.

    :ivar tail: the last lines, the newest last.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._rest = b''
        self._logged, self._bytes = Rate(), Rate()

    def take(self, data: bytes) -> bool:
        """Keep and log what has come, empty at the end.

        :returns: whether that was too much, and more may wait for a second.
        """
        *lines, self._rest = (self._rest + data).split(b'\n')
        if len(self._rest) > TAIL_LENGTH or not data:
            lines, self._rest = [*lines, self._rest], b''
        for line in lines:
            text = line[:TAIL_LENGTH].decode('utf-8', 'replace').rstrip()
            if text:
                self.tail.append(text)
                if self._logged.add() <= LOGGED:
                    LOG.info('extension %s: %s', self._name, text)
        return self._bytes.add(len(data)) > FLOOD


class Rate:
    """Counts within a second of the clock."""

    def __init__(self) -> None:
        self._second = self._count = 0

    def add(self, number: int = 1) -> int:
        """Count some; return how many there were in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += number
        return self._count
