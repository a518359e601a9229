# SPDX-License-Identifier: Apache-2.0
"""Logging by the standard library, under the option names that operators know."""

import logging
import logging.handlers
import time
from typing import Any


def setup(conf: Any) -> None:
    """Send the log where ``conf`` says (options of ``guestagent.conf.common``).

    :raises OSError: the file cannot be opened.
    """
    handler: logging.Handler
    if conf.log_file:
        handler = logging.handlers.WatchedFileHandler(conf.log_file, encoding='utf-8')
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(conf.log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO)
    # The libraries' own chatter says nothing that an operator could act on.
    for name in ('amqp', 'kombu', 'stevedore', 'sqlalchemy', 'alembic'):
        logging.getLogger(name).setLevel(logging.WARNING)


class RateLimit:
    """Says yes at most once in ``seconds`` for each key, and counts the others."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def allow(self, key: str) -> int | None:
        """Return how many were held back since the last yes, or ``None`` for no."""
        now = time.monotonic()
        last = self._last.get(key)
        if last is not None and now - last < self._seconds:
            self._held[key] = self._held.get(key, 0) + 1
            return None
        self._last[key] = now
        return self._held.pop(key, 0)
