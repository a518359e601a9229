# SPDX-License-Identifier: Apache-2.0
"""Hears from the kernel that something has changed, asleep until then.

One thread sleeps in one poll on all the sources.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence

from guestagent_monitoring.sources import Source

LOG = logging.getLogger(__name__)

#: Seconds that a look which has begun may take to end when the agent stops.
STOP_SECONDS = 1.0


class Watch:
    """Calls back with the names of facts that may have changed.

    :param sources: closed by :meth:`stop`.
    :param callback: called on the watch's own thread; what it raises is logged.
    :param delay: seconds from the first notice to the call.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        callback: Callable[[list[str]], None],
        delay: float,
    ) -> None:
        self._sources = {source.file.fileno(): source for source in sources}
        self._callback = callback
        self._delay = delay
        self._stop_read, self._stop_write = socket.socketpair()
        self._stopped = select.poll()
        self._stopped.register(self._stop_read, select.POLLIN)
        self._poll = select.poll()
        self._poll.register(self._stop_read, select.POLLIN)
        for fd, source in self._sources.items():
            self._poll.register(fd, source.events)
        self._thread = threading.Thread(
            target=self._run, name='monitoring-watch', daemon=True
        )

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sources."""
        self._stop_write.close()
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            LOG.warning('a look at what has changed did not end in time')
            return  # or it would meet closed files
        self._stop_read.close()
        for source in self._sources.values():
            source.file.close()

    def _run(self) -> None:
        """Sleep, wait a moment, tell; until the other end is closed."""
        while True:
            noticed = self._poll.poll()
            if self._stopped.poll(self._delay * 1000):
                return
            # A poll takes a file's notice away, so both count.
            noticed += self._poll.poll(0)
            sources = {self._sources[fd] for fd, _events in noticed}
            facts = {
                fact for source in sources if source.drain() for fact in source.facts
            }
            if not facts:
                continue
            try:
                self._callback(sorted(facts))
            except Exception:
                LOG.exception('a look at what has changed failed')
