# SPDX-License-Identifier: Apache-2.0
"""How fast what has piled up may be sent; no I/O and no clock."""

from __future__ import annotations

#: Seconds for which nothing was sent that may be made up for at once.
BURST = 0.25


class Pace:
    """Lets a backlog through at a rate, and what comes when that is gone at once.

    A fleet that comes back has much to tell, all at the same time.  What comes
    meanwhile waits behind the backlog, so the order stays; as the backlog only
    shrinks, this ends.

    :param rate: so many in a second.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left = 0
        self._next = 0.0

    def begin(self, backlog: int, now: float) -> None:
        """Note that so many wait.

        :param now: seconds of a clock that never goes back.
        """
        self._left, self._next = backlog, now - BURST

    def wait(self, now: float) -> float:
        """Return in how many seconds the next may be sent; 0: now."""
        if not self._left:
            return 0.0
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """Note that one was sent."""
        if self._left:
            self._left -= 1
            self._next = max(self._next, now - BURST) + 1 / self.rate
