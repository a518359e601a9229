# SPDX-License-Identifier: Apache-2.0
"""Keep the process of an extension: start it when it is used, stop it when it is idle,
start it again when it died, but not at once and less and less soon.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from guestagent import errors, extension
from guestagent.agent.isolation import limits, process, session

LOG = logging.getLogger(__name__)

#: Seconds until a process that died may be started again: the first time, and at most.
DELAY, DELAY_MAX = 1.0, 60.0
#: A process that lived so many seconds has not failed to start.
HEALTHY_SECONDS = 60.0
#: Seconds that the agent waits for a process to end.
END_SECONDS = process.STOP_SECONDS + process.TERM_SECONDS + 1

Values = Mapping[str, str | list[str]]


class Plan(NamedTuple):
    """How an extension is run.

    :ivar argv: its program.
    :ivar idle: seconds after which it is stopped; 0: never.
    """

    argv: Sequence[str]
    idle: float
    bounds: limits.Limits


class Keeper:
    """One extension's process, there or not.

    :param options: returns the present values of the extension's options.
    """

    def __init__(
        self, name: str, plan: Plan, options: Callable[[], Values], host: extension.Host
    ) -> None:
        self._name = name
        self._plan = plan
        self._options = options
        self._host = host
        self._lock = threading.Lock()
        self._session: session.Session | None = None
        self._leaving: session.Session | None = None
        self._starting: session.Session | None = None
        self._begun = self._used = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._problem = ''
        self._stopping = False
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """Start what is never idle."""
        if not self._plan.idle:
            self._revive()

    def ask(
        self,
        kind: str,
        fields: Mapping[str, Any],
        context: extension.Context | None = None,
    ) -> Any:
        """Ask the process, which is started if need be; wait for the answer.

        :raises guestagent.errors.Transient: it died and is not yet started again.
        :raises guestagent.errors.ExtensionDied: it died now.
        :raises: what it raises.
        """
        waiter = self._ask(kind, fields, context)
        try:
            return waiter.wait()
        finally:
            self._used = time.monotonic()

    def rouse(self) -> None:
        """Start the process although nobody uses it; does not wait."""
        threading.Thread(
            target=self._revive, name=f'rouse {self._name}', daemon=True
        ).start()

    def stop(self) -> None:
        """End the process; the last thing to do."""
        self._stopping = True
        starting = self._starting
        if starting is not None:
            starting.kill('the agent is stopping')  # or we would wait for its start
        with self._lock:
            ending, self._session = self._session or self._leaving, None
        if self._timer is not None:
            self._timer.cancel()
        if ending is not None:
            ending.stop()
            if not ending.wait_ended(END_SECONDS):
                LOG.error('the process of extension %s does not end', self._name)

    def health(self) -> str:
        """Return what the process said last, or why there is none."""
        running = self._session
        if running is not None:
            return running.health
        return self._problem or 'ok'

    def pid(self) -> int | None:
        """Return the id of the process, if there is one."""
        running = self._session
        return None if running is None else running.pid

    def _ask(
        self, kind: str, fields: Mapping[str, Any], context: extension.Context | None
    ) -> session.Waiter:
        running = self._session
        if running is not None:
            try:
                return running.ask(kind, fields, context)
            except errors.ExtensionDied:
                pass  # it has ended, or become idle, before it was asked
        with self._lock:
            # Under the lock, so that it cannot become idle before it is asked.
            return self._running().ask(kind, fields, context)

    def _running(self) -> session.Session:
        """Return the session, started if need be; under the lock."""
        if self._session is not None:
            return self._session
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise errors.Transient(
                f'extension {self._name} is started again in {wait:.0f} s: '
                f'{self._problem}'
            )
        if self._stopping:
            raise errors.Stopping('the agent is stopping')
        if self._leaving is not None:
            self._leaving.wait_ended(END_SECONDS)
            self._leaving = None
        self._session = self._start()
        return self._session

    def _start(self) -> session.Session:
        LOG.debug('starting the process of extension %s', self._name)
        self._begun = self._used = time.monotonic()
        try:
            made = session.Session(
                self._name, self._plan.argv, self._plan.bounds, self._host, self._ended
            )
        except OSError as error:
            self._note(f'its process cannot be made: {error}')
            raise errors.ExtensionDied(
                f'the process of extension {self._name} cannot be made: {error}'
            ) from None
        self._starting = made
        try:
            made.open()
            made.configure(self._options(), start=True)
        except errors.ExtensionDied:
            raise  # its end was noted
        except Exception as error:
            made.stop()
            self._note(f'it does not start: {error}')
            raise
        finally:
            self._starting = None
        self._problem = ''
        if self._plan.idle:
            made.at(self._plan.idle, lambda: self._look(made))
        return made

    def _look(self, running: session.Session) -> None:
        """Let the process go if it is idle; on the thread that listens to it."""
        if not self._lock.acquire(blocking=False):
            running.at(1.0, lambda: self._look(running))  # it is being used
            return
        try:
            left = self._used + self._plan.idle - time.monotonic()
            if left > 0 or running.busy or not running.close():
                wait = max(left, 1.0)
                running.at(wait, lambda: self._look(running))
            elif self._session is running:
                self._session, self._leaving = None, running
                running.stop()
        finally:
            self._lock.release()

    def _ended(self, ended: session.Session, end: process.End) -> None:
        """Take note of an end; on the thread that listened."""
        if self._session is ended:
            self._session = None
        if end.wanted:
            return
        self._note(_sentence(end))
        LOG.error('extension %s: %s', self._name, self._problem)
        self._host.report_event(
            self._name,
            'crashed',
            {'reason': end.reason, 'stderr': end.stderr, 'failures': self._failures},
        )
        # What it held, and nobody else knows of, is found again by its start.
        if (not self._plan.idle or ended.busy) and not self._stopping:
            self._timer = threading.Timer(
                self._not_before - time.monotonic(), self._revive
            )
            self._timer.daemon = True
            self._timer.start()

    def _note(self, problem: str) -> None:
        """Remember a failure, and wait longer with each."""
        now = time.monotonic()
        if now - self._begun > HEALTHY_SECONDS:
            self._failures = 0
        self._problem = problem
        self._failures += 1
        delay = min(DELAY * 2 ** (self._failures - 1), DELAY_MAX)
        self._not_before = now + delay

    def _revive(self) -> None:
        """Start the process of an extension that is never idle."""
        try:
            with self._lock:
                self._running()
        except Exception as error:  # noqa: BLE001 (each start has its own causes)
            LOG.error('extension %s: %s', self._name, error)


def _sentence(end: process.End) -> str:
    last = f'; its last words: {end.stderr[-1]}' if end.stderr else ''
    return f'its process ended: {end.reason}{last}'
