# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt, and at which broker; no I/O."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence

from guestagent.bus import url

#: What held for so many seconds counts as a success; what broke sooner does not, so
#: that a broker that lets everybody in and throws them out is not asked all the time.
STEADY_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class Retry:
    """Seconds between two attempts.

    :ivar delay: the first; it doubles with each failure.
    :ivar splay: the longest random addition, so that a fleet does not come at once.
    :ivar longest: the longest, without the addition.
    """

    delay: float
    splay: float
    longest: float


class Backoff:
    """Counts failures in a row and says how long to wait after each.

    :param at_once: how many attempts there are to a round; only after a whole round is
        the wait more than the splay.
    """

    def __init__(
        self,
        retry: Retry,
        at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry = retry
        self._at_once = at_once
        self._clock = clock
        self._failures = 0
        self._since: float | None = None

    def succeeded(self) -> None:
        """Note that it works, from now on."""
        self._since = self._clock()

    def failed(self) -> float:
        """Note that it does not, or not any more; return the seconds to wait."""
        if self._since is not None and self._clock() - self._since >= STEADY_SECONDS:
            self._failures = 0
        self._since = None
        self._failures += 1
        wait = random.uniform(0, self._retry.splay)
        rounds, rest = divmod(self._failures, self._at_once)
        if not rest:
            longest = self._retry.longest
            step = min(self._retry.delay * 2 ** min(rounds - 1, 16), longest)
            # All who lost the broker at one time must not ask for it at one time.
            wait += step * random.uniform(0.5, 1.0)
        return wait


class Brokers:
    """The brokers of a URL, in turn, in an order that each agent draws for itself.

    :param shuffle: draw again for each time around.
    :ivar current: the one to try now.
    """

    def __init__(self, brokers: Sequence[url.Broker], shuffle: bool) -> None:
        self._order = random.sample(brokers, len(brokers))
        self._shuffle = shuffle
        self._turn = 0
        self.current = self._order[0]

    def advance(self) -> None:
        """Go on to the next."""
        self._turn = (self._turn + 1) % len(self._order)
        if self._shuffle and not self._turn:
            random.shuffle(self._order)
        self.current = self._order[self._turn]
