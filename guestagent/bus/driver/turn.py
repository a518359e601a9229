# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is to read from the hub: a caller that waits, or the listener.

A call is answered soonest if its caller reads the answer itself: to wake another thread
that then wakes the caller takes as long as all else that a driver does.  So the
listener, the thread that reads otherwise, rests after an answer.  It reads again when
somebody waits who does not read, when something may come for others than callers, and
when nobody has called for a while: then it is there to see the connection end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: For how long a caller reads, in seconds; then it leaves that to the listener.
LEAD_SECONDS = 0.05

#: After how long without a call the listener reads again, in seconds.
REST_SECONDS = 0.1


class Turn:
    """One thread at a time reads: who holds :attr:`lock`.

    :param needed: whether anybody waits for what comes, or may come; who begins to
        wait is seen by it before he asks for the turn.
    """

    def __init__(self, needed: Callable[[], bool]) -> None:
        self.lock = threading.Lock()
        self._needed = needed
        self._wanted = threading.Event()
        self._led = False

    def take(self) -> bool:
        """Let a caller read, if nobody does; it gives the turn back."""
        return self.lock.acquire(blocking=False)

    def give_back(self) -> None:
        """The caller reads no more; whoever waits is the listener's."""
        self._led = True
        self.lock.release()
        if self._needed():
            self.call_listener()

    def call_listener(self) -> None:
        """Somebody waits who does not read."""
        if not self._wanted.is_set():
            self._wanted.set()

    def rest(self) -> None:
        """Return when the listener must read again; it does not hold the turn."""
        self._wanted.clear()
        # In this order: who waits from now on finds it cleared, and calls.
        while not self._needed():
            if self._wanted.wait(REST_SECONDS) or not self._led:
                return
            self._led = False
