# SPDX-License-Identifier: Apache-2.0
"""What many threads bring, and one at a time takes: all that has come meanwhile.

So what is done once for several is done the less often the more there is to do, and
nobody waits for more to come.
"""

from __future__ import annotations

import collections
import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Batches(Generic[Item]):
    """A queue with at most one taker; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: collections.deque[Item] = collections.deque()
        #: Whether there is a taker.
        self.taken = False

    def add(self, item: Item) -> bool:
        """Bring one; return whether there is no taker yet: the caller sees to it."""
        with self._lock:
            self._items.append(item)
            first, self.taken = not self.taken, True
        return first

    def take(self, most: int | None = None) -> list[Item]:
        """Return the oldest, at most so many; none: the caller is the taker no more."""
        with self._lock:
            items = self._items
            if most is None or most >= len(items):
                taken = list(items)
                items.clear()
            else:
                taken = [items.popleft() for _ in range(most)]
            if not taken:
                self.taken = False
        return taken

    def leave(self) -> bool:
        """Be the taker no more, if there is nothing to take; return whether so."""
        with self._lock:
            self.taken = bool(self._items)
            return not self.taken
