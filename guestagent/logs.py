# SPDX-License-Identifier: Apache-2.0
"""Logging by the standard library, under the option names that operators know."""

import json
import logging
import logging.handlers
import os
import time
from io import TextIOWrapper
from typing import Any


class JsonFormatter(logging.Formatter):
    """Makes one JSON object of a record, in one line of ASCII.

    ``{time, level, logger, message, exception, instance}``: ``time`` is UTC as
    RFC 3339 writes it; the last two are there if there are any.  A record names its
    instance by ``extra={'instance': ...}``, or it is the program's own.
    """

    def __init__(self, instance: str | None = None) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        seconds = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))
        entry = {
            'time': f'{seconds}.{int(record.msecs):03d}Z',
            'level': record.levelname,
            'logger': record.name,
            'message': record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry['exception'] = self.formatException(record.exc_info)
        instance = getattr(record, 'instance', self._instance)
        if instance is not None:
            entry['instance'] = str(instance)
        return json.dumps(entry)


class _File(logging.handlers.WatchedFileHandler):
    """A file that only its owner can read, unless another program has made it."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            # To ask for it to be made would wait for a frozen disk though it is there.
            os.stat(self.baseFilename)
            fd = os.open(self.baseFilename, flags)
        except FileNotFoundError:
            fd = os.open(self.baseFilename, flags | os.O_CREAT, 0o600)
        return open(fd, 'a', encoding=self.encoding)


def setup(conf: Any, instance: str | None = None) -> None:
    """Send the log where ``conf`` says (options of ``guestagent.conf.common``).

    :param instance: the instance that the program is the agent of.
    :raises OSError: the file cannot be opened.
    """
    handler: logging.Handler
    if conf.log_file:
        handler = _File(conf.log_file, encoding='utf-8')
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(instance) if conf.use_json else logging.Formatter(conf.log_format)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(conf.debug)
    # The libraries' own chatter says nothing that an operator could act on.
    for name in ('amqp', 'kombu', 'stevedore', 'sqlalchemy', 'alembic'):
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(debug: bool) -> None:
    """Log at the level DEBUG, or INFO."""
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.INFO)


#: How many keys a limit remembers.
KEYS_MAX = 10000


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
        if last is None and len(self._last) >= KEYS_MAX:
            self._forget(now)
        self._last[key] = now
        return self._held.pop(key, 0)

    def _forget(self, now: float) -> None:
        """Forget the keys of long ago, or all: others may choose the keys."""
        late = [key for key, last in self._last.items() if now - last >= self._seconds]
        for key in late or list(self._last):
            del self._last[key]
            self._held.pop(key, None)
