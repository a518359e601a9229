# SPDX-License-Identifier: Apache-2.0
"""Remember which reply queues have lost their reader; no I/O."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

#: For how long a queue counts as gone, in seconds, and how many are remembered.  Not
#: longer: after the broker's restart a client may call before its queue is there again,
#: and would be told nothing for as long.
SECONDS = 2.0
LENGTH = 200


class Gone:
    """The reply queues that nobody reads any more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: collections.OrderedDict[str, float] = collections.OrderedDict()

    def __contains__(self, queue: str) -> bool:
        since = self._since.get(queue)
        return since is not None and self._clock() - since < SECONDS

    def add(self, queue: str) -> None:
        """Note that a reply to it came back; the oldest is forgotten for it."""
        self._since[queue] = self._clock()
        self._since.move_to_end(queue)
        while len(self._since) > LENGTH:
            self._since.popitem(last=False)

    def discard(self, queue: str) -> None:
        """Note that somebody reads it."""
        self._since.pop(queue, None)
