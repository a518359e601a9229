# SPDX-License-Identifier: Apache-2.0
"""The log while where it goes is frozen: a file in the area, and then where it belongs.

What does not fit is counted.  Who reads the standard error may be frozen, too: then it
would soon be full, and whoever logs would wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Collection

from guestagent.agent.holding import places

#: How many bytes are kept.
SIZE_MAX = 1024 * 1024
#: Where journald keeps what it is sent.
_JOURNAL = '/var/log/journal'


class Logbook(logging.Handler):
    """Takes the place of the handlers of the root logger, until it is closed.

    :raises OSError: the file cannot be made.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._dropped = 0
        root = logging.getLogger()
        self._before = root.handlers[:]
        root.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, as it would have been written."""
        formatter = self._before[0] if self._before else self
        line = f'{formatter.format(record)}\n'.encode('utf-8', 'replace')
        if self._size + len(line) > SIZE_MAX:
            self._dropped += 1
            return
        try:
            self._size += os.write(self._fd, line)
        except OSError:
            self._dropped += 1

    def end(self) -> int:
        """Have the handlers back, and write to them what was kept.

        :returns: how many lines were not.
        """
        root = logging.getLogger()
        with self.lock or contextlib.nullcontext():
            root.handlers[:] = self._before
            # A thread may be about to write.
            fd, self._fd = self._fd, -1
        os.close(fd)
        with open(self._path, encoding='utf-8', errors='replace') as file:
            text = file.read()
        for handler in self._before:
            if isinstance(handler, logging.StreamHandler) and text:
                with handler.lock or contextlib.nullcontext():
                    handler.stream.write(text)
                    handler.flush()
        os.unlink(self._path)
        return self._dropped


def is_affected(devices: Collection[str]) -> bool:
    """Whether the log goes where one of these devices is needed."""
    for handler in logging.getLogger().handlers:
        stream = getattr(handler, 'stream', None)
        try:
            fd = stream.fileno() if stream is not None else -1
            mode = os.fstat(fd).st_mode
        except (OSError, ValueError, AttributeError):
            continue  # it goes to no file
        if stat.S_ISREG(mode) and places.device_of(fd) in devices:
            return True
        journald = stat.S_ISSOCK(mode) and os.path.isdir(_JOURNAL)
        if journald and places.device(_JOURNAL) in devices:
            return True
    return False
