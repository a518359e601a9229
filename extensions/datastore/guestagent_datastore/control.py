# SPDX-License-Identifier: Apache-2.0
"""Start and stop the server, know how it is, and notice its end.

Its state is what it says itself over its socket.  Its process is watched meanwhile: the
kernel tells of its end at once.  One that ends by itself is started again, at most
:data:`CRASHES_MAX` times in :data:`CRASHES_SECONDS`.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import engine as engines
from guestagent_datastore import models, records, services
from guestagent_datastore.services import watch

LOG = logging.getLogger(__name__)

#: How often it is started again within which time, in seconds.
CRASHES_MAX, CRASHES_SECONDS = 3, 300.0
#: Seconds between two looks while something is awaited.
STEP = 0.1


class Control:
    """The server of an engine as a thing that runs or not.

    :param seconds: how long it may take to start, and to stop.
    :param report: called with the name and data of an event.
    """

    def __init__(
        self,
        engine: engines.Engine,
        service: services.Service,
        kept: records.Records,
        seconds: float,
        report: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._engine = engine
        self._service = service
        self._records = kept
        self._seconds = seconds
        self._report = report
        self._lock = threading.RLock()
        self._watch = watch.Watch(self._ended)
        self._leaving = 0
        self._paused = False
        self._closed = False
        self._starts: collections.deque[float] = collections.deque(maxlen=CRASHES_MAX)

    @property
    def pid(self) -> int:
        """The server's process; 0: it does not run."""
        return self._watch.pid or self._service.pid()

    def state(self) -> models.State:
        """Return how the server is."""
        state = self._engine.ready()
        if state != 'shutdown':
            return state
        if self._service.pid():
            return 'running'
        if self._records.wanted.run and not self._paused:
            return 'crashed'
        return 'shutdown' if self._engine.initialised() else 'new'

    def start(self, context: extension.Context | None = None) -> None:
        """Start it and wait until it serves; nothing if it does.

        :raises guestagent.errors.GuestError: it does not come to serve.
        """
        with self._lock:
            if self._engine.ready() == 'healthy':
                self._records.want(True, True)
                self.look()
                return
            if not self._engine.initialised():
                raise errors.GuestError('there is no data: prepare the server first')
            self._engine.prepare_folders()
            self._records.want(True, True)
            self._paused = False
            if not self._service.pid():
                self._service.start()
            self._service.set_enabled(True)
            try:
                self._wait(self._serves, 'serve', context)
            except errors.GuestError:
                self.look()
                raise
            self.look()

    def stop(
        self, context: extension.Context | None = None, disable: bool = False
    ) -> None:
        """Stop it and wait for its end; nothing if it does not run.

        :param disable: do not start it with the guest, either.
        :raises guestagent.errors.GuestError: it does not end.
        """
        with self._lock:
            self._records.want(False, not disable)
            self._service.set_enabled(not disable)
            self._end(context)

    def pause(self, context: extension.Context | None = None) -> None:
        """Stop it for a while: it is meant to run, by the next agent at the latest.

        :raises guestagent.errors.GuestError: it does not end.
        """
        with self._lock:
            self._records.want(True, True)
            self._paused = True
            self._end(context)

    def restart(self, context: extension.Context | None = None) -> None:
        """Stop it if it runs, and start it.

        :raises guestagent.errors.GuestError: one of these failed.
        """
        with self._lock:
            self._records.want(True, True)
            self._end(context)
            self.start(context)

    def revive(self) -> None:
        """Start what is meant to run but does not; it ended while nobody looked."""
        with self._lock:
            if (
                not self._records.due
                or self._gave_up()
                or self._engine.ready() != 'shutdown'
                or self._service.pid()
                or not self._engine.initialised()
            ):
                return
            if self._records.booted:
                LOG.info('the guest has started: starting the server')
                if self._may_start():
                    self._start_again()
            else:
                self._crashed(0)

    def look(self) -> None:
        """Watch the process that there is now, unless it is just being changed."""
        if self._watch.pid or not self._lock.acquire(blocking=False):
            return
        try:
            if not self._closed:
                self._watch.watch(self._service.pid())
        finally:
            self._lock.release()

    def close(self) -> None:
        """Watch no more; the server goes on."""
        self._closed = True
        self._watch.stop()
        self._engine.close()

    def _end(self, context: extension.Context | None) -> None:
        pid = self._service.pid()
        self._leaving = pid
        self._watch.watch(0)
        if pid:
            self._wait(self._engine.may_stop, 'come to where it can end', context)
            self._engine.close()
            self._service.stop()
            self._wait(lambda: not self._service.pid(), 'end', context)

    def _serves(self) -> bool:
        if self._engine.ready() == 'healthy':
            return True
        if not self._service.pid() and not self._service.restarts:
            words = self._engine.last_words() or 'its log says nothing'
            raise errors.GuestError(f'the server ended while it started: {words}')
        return False

    def _wait(
        self, done: Callable[[], bool], what: str, context: extension.Context | None
    ) -> None:
        until = time.monotonic() + self._seconds
        while not done():
            if context is not None:
                context.check()
            if time.monotonic() > until:
                raise errors.GuestError(
                    f'the server did not {what} within {self._seconds:g} s '
                    f'([datastore] state_change_wait_time); its log may say more'
                )
            time.sleep(STEP)

    def _ended(self, pid: int) -> None:
        """Tell of a crash, and start the server again."""
        with self._lock:
            if not self._closed and pid != self._leaving and self._records.wanted.run:
                self._crashed(pid)

    def _crashed(self, pid: int) -> None:
        restarts = self._service.restarts or self._may_start()
        words = self._engine.last_words()
        LOG.error(
            'the server (process %d) ended by itself%s: %s',
            pid,
            '' if restarts else ', too often to start it again',
            words or 'its log says nothing',
        )
        self._report('crashed', {'pid': pid, 'detail': words, 'restarts': restarts})
        if restarts and self._start_again():
            self._report('recovered', {'pid': self.pid})

    def _may_start(self) -> bool:
        """Whether it was not started too often of late; counts this time."""
        if self._gave_up():
            return False
        self._starts.append(time.monotonic())
        return True

    def _gave_up(self) -> bool:
        """Whether it would be too often to start it once more."""
        return (
            len(self._starts) == CRASHES_MAX
            and time.monotonic() - self._starts[0] < CRASHES_SECONDS
        )

    def _start_again(self) -> bool:
        try:
            self.start()
        except errors.GuestError as error:
            LOG.error('the server cannot be started again: %s', error)
            return False
        return True
