# SPDX-License-Identifier: Apache-2.0
"""Watches the commands in flight: their time limits and their signs of life.

One timer serves all of them.  It is set for the earliest moment at which something
could be due and looks again then: setting one for each call would cost more than the
call, as nearly all end long before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from guestagent import loop as loops
from guestagent.agent import request as requests


class Watch:
    """The requests between their admission and their outcome.

    :meth:`add` belongs to the loop; :meth:`remove` may be called from any thread,
    and only the first call for a request returns True: who gets it settles the
    request.
    """

    def __init__(
        self, loop: loops.Loop, expire: Callable[[requests.Request], None]
    ) -> None:
        self._loop = loop
        self._expire = expire
        self._requests: dict[requests.Request, None] = {}
        self._timer: loops.Timer | None = None
        self._due = float('inf')

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: requests.Request) -> None:
        """Watch a request from now on."""
        now = time.monotonic()
        self._requests[request] = None
        interval = request.door.life_interval
        if interval is not None:
            request.next_life = now + interval
        due = self._next_due(request, now)
        if due < self._due:
            self._set(due, now)

    def remove(self, request: requests.Request) -> bool:
        """Stop watching; return whether this was the first to do so."""
        return self._requests.pop(request, self) is None

    def __contains__(self, request: requests.Request) -> bool:
        return request in self._requests

    def in_flight(self) -> list[requests.Request]:
        """Return the requests in flight, waiting or running, the oldest first."""
        return list(self._requests)

    def _next_due(self, request: requests.Request, now: float) -> float:
        """Return when to look at it again; one that waits cannot be due earlier."""
        due = float('inf')
        limit = request.command.info.timeout if request.command else None
        if limit is not None:
            begun = request.started
            due = (now if begun is None else begun) + limit
        if request.next_life is not None:
            due = min(due, request.next_life)
        return due

    def _set(self, due: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._look)

    def _look(self) -> None:
        self._due, self._timer = float('inf'), None
        now = time.monotonic()
        earliest = float('inf')
        for request in self.in_flight():
            self._look_at(request, now)
            if request in self._requests:
                earliest = min(earliest, self._next_due(request, now))
        if earliest < self._due:
            self._set(earliest, now)

    def _look_at(self, request: requests.Request, now: float) -> None:
        context = request.context
        if (
            context is not None
            and context.deadline is not None
            and context.deadline <= now
        ):
            self._expire(request)
            return
        if request.next_life is not None and request.next_life <= now:
            request.door.sign_of_life()
            request.next_life = now + (request.door.life_interval or 0)
