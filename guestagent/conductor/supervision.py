# SPDX-License-Identifier: Apache-2.0
"""The main thread of a conductor: signals, and what systemd is told.

The conductor is ready when its parts have started; the broker may be away, and the
status line says so.  The watchdog is fed at half its time while the listener lives.
"""

from __future__ import annotations

import logging
import queue
import signal
from collections.abc import Callable

from guestagent import systemd
from guestagent.conductor import health

LOG = logging.getLogger(__name__)

#: How often the status line is looked at, in seconds, where no watchdog is wanted.
STATUS_INTERVAL = 30.0


class Supervision:
    """Waits for signals.

    :param reload: reads the configuration again.
    """

    def __init__(
        self,
        state: health.Health,
        reload: Callable[[], None],
        notifier: systemd.Notifier | None = None,
    ) -> None:
        self._health = state
        self._reload = reload
        self._notifier = notifier or systemd.Notifier()
        # An event could not be set by a handler that interrupts who waits for it.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def catch_signals(self) -> None:
        """Take the signals; only on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda got, _frame: self._signals.put(got))

    def wait(self) -> None:
        """Say that the conductor has started; return when it shall stop."""
        self._notifier.ready()
        while True:
            self._look()
            try:
                number = self._signals.get(timeout=self._interval())
            except queue.Empty:
                continue
            if number != signal.SIGHUP:
                break
            self._notifier.reloading()
            self._reload()
            self._notifier.ready()
        LOG.info('%s: stopping', signal.Signals(number).name)
        self._notifier.stopping()

    def _interval(self) -> float | None:
        """Return for how long it may sleep; without systemd for ever."""
        if not self._notifier.enabled:
            return None
        watchdog = self._notifier.watchdog
        return watchdog / 2 if watchdog else STATUS_INTERVAL

    def _look(self) -> None:
        if not self._notifier.enabled:
            return
        self._notifier.status('; '.join(self._health.problems()) or 'taking reports')
        if not self._notifier.watchdog:
            return
        if self._health.listening:
            self._notifier.alive()
        else:
            LOG.error('the listener hangs: the watchdog is not fed')
