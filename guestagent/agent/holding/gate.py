# SPDX-License-Identifier: Apache-2.0
"""A gate that many pass at once, until somebody must be alone behind it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """``with gate:`` passes it; not twice on one thread."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._lock = lock
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            while self._closed:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._closed:
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Wait until nobody is inside, and let nobody in meanwhile.

        :raises TimeoutError: somebody stays inside; then it is as before.
        """
        with self._lock:
            while self._closed:
                self._changed.wait()
            self._closed = True
            alone = self._changed.wait_for(lambda: not self._inside, seconds)
        try:
            if not alone:
                raise TimeoutError
            yield
        finally:
            with self._lock:
                self._closed = False
                self._changed.notify_all()
