# SPDX-License-Identifier: Apache-2.0
"""Does one thing later, when the answer to the command has left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guestagent import errors

#: Called with what went wrong; ``''``: nothing.
Ended = Callable[[str], None]


class Later:
    """At most one action that is still to come, by a clock that nobody can set.

    :param name: of its thread.
    :param ended: called after each action, on the thread that ran it.
    """

    def __init__(self, name: str, ended: Ended) -> None:
        self._name = name
        self._ended = ended
        self._lock = threading.Lock()
        self._pending: Callable[[], object] | None = None
        self._due = 0.0
        self._timer: threading.Timer | None = None

    def begin(self, seconds: float, action: Callable[[], object]) -> None:
        """Run ``action`` after some time, in the place of the one before.

        It says by a :class:`guestagent.errors.GuestError` that it failed.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._pending = action
            self._due = time.monotonic() + seconds
            self._timer = threading.Timer(seconds, self._run, (action,))
            self._timer.name = self._name
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> bool:
        """Forget what is still to come; return whether there was something."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            found, self._pending = self._pending is not None, None
            return found

    def left(self) -> float | None:
        """Return the seconds until it runs, or ``None`` if nothing is to come."""
        with self._lock:
            if self._pending is None:
                return None
            return max(0.0, self._due - time.monotonic())

    def hurry(self) -> None:
        """Run now, on this thread, what is still to come."""
        action = self._pending
        if action is not None:
            self._run(action)

    def _run(self, action: Callable[[], object]) -> None:
        with self._lock:
            if self._pending is not action:
                return  # another thread has run it, or it was cancelled
            self._pending = None
        try:
            action()
        except errors.GuestError as error:
            self._ended(str(error))
        else:
            self._ended('')
