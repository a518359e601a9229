# SPDX-License-Identifier: Apache-2.0
"""Whether the conductor does its work, from what its parts noticed; no I/O.

Nobody is asked when somebody asks: a health page that waits for a hanging database is
of no use.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: The listener is given up when it has done nothing for so long, in seconds: its
#: longest pause, a connection that does not come about and a slow commit fit in.
STALL = 120.0


class Health:
    """What is known by now; told and asked from any thread.

    :param stale_after: after how many seconds without an answer of the database it
        counts as away.
    """

    def __init__(
        self, stale_after: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stale_after = stale_after
        self._clock = clock
        self._beat = self._answered = clock()
        #: ``''``, or what is wrong, in one line.
        self.database = 'it has not been asked yet'
        self.broker = 'there is no connection yet'

    def beat(self) -> None:
        """The listener goes on."""
        self._beat = self._clock()

    def database_answered(self) -> None:
        """The database did what it was asked."""
        self.database = ''
        self._answered = self._clock()

    @property
    def listening(self) -> bool:
        """Whether the listener does anything, be it to wait for its next attempt."""
        return self._clock() - self._beat < STALL

    def problems(self) -> list[str]:
        """Return what keeps reports from being taken or queries from being answered."""
        found = []
        silent = self._clock() - self._answered
        if self.database:
            found.append(f'database: {self.database}')
        elif silent > self._stale_after:
            found.append(f'database: no answer for {silent:.0f} s')
        if self.broker:
            found.append(f'broker: {self.broker}')
        if not self.listening:
            found.append('the thread that takes reports hangs')
        return found
