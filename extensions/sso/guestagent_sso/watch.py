# SPDX-License-Identifier: Apache-2.0
"""Listens to logind for what becomes of sessions, asleep until something does."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent_sso import bus, logind, tracker, wire

LOG = logging.getLogger(__name__)

#: Seconds until a bus that is lost is tried again: the first time, and at the most.
RETRY_SECONDS, RETRY_MAX = 1.0, 60.0
_RULES = (
    f"type='signal',sender='{logind.NAME}',interface='{logind.MANAGER}',"
    f"path='{logind.PATH}'",
    f"type='signal',sender='{logind.NAME}',interface='{logind.SESSION}'",
    f"type='signal',sender='{logind.NAME}',interface='{logind.PROPERTIES}',"
    f"member='PropertiesChanged',path_namespace='{logind.PATH}/session'",
    # logind was started again, and may have said something in between.
    f"type='signal',sender='{bus.DRIVER}',member='NameOwnerChanged',"
    f"arg0='{logind.NAME}'",
)
_TELLING = {'Active', 'State'}


class Watch:
    """A connection to the bus that heals, and what is heard on it; on one thread.

    :ivar problem: why nothing is heard, or ``''``.
    """

    def __init__(self, known: tracker.Tracker) -> None:
        self._tracker = known
        self._begun = False
        self._owner = ''
        self._bus: bus.Connection | None = None
        self._retry = 0.0
        self._seconds = RETRY_SECONDS
        self.problem = ''

    def connect(self) -> None:
        """Begin to listen, if that is not so and it is time to try."""
        if self._bus is not None or time.monotonic() < self._retry:
            return
        try:
            self._bus = bus.Connection(bus.system_address())
            for rule in _RULES:
                self._bus.ask_driver('AddMatch', 's', rule)
            self._look()
            self._hear(self._bus)
        except (bus.BusError, bus.CallError) as error:
            self._lose(error)
            return
        self.problem = ''
        self._seconds = RETRY_SECONDS

    def due(self) -> float | None:
        """Return the seconds until :meth:`connect` is to be called, if it is."""
        if self._bus is not None:
            return None
        return max(0.0, self._retry - time.monotonic())

    def register(self, poll: select.poll) -> int | None:
        """Have it polled; return the descriptor, if there is one."""
        if self._bus is None:
            return None
        poll.register(self._bus, select.POLLIN)
        return self._bus.fileno()

    def hear(self) -> None:
        """Take what has come."""
        if self._bus is None:
            return
        try:
            self._hear(self._bus)
        except (bus.BusError, bus.CallError) as error:
            self._lose(error)

    def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _lose(self, error: Exception) -> None:
        self.close()
        self._retry = time.monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, RETRY_MAX)
        if not self.problem:
            LOG.warning('sessions are not watched: %s', error)
        self.problem = f'sessions are not watched: {error}'

    def _hear(self, connection: bus.Connection) -> None:
        for message in connection.pending():
            if message.kind == wire.SIGNAL:
                self._take(connection, message)

    def _take(self, connection: bus.Connection, message: wire.Message) -> None:
        member, body = message.member, message.body
        if message.sender == bus.DRIVER:
            if member == 'NameOwnerChanged' and body[2]:
                self._look()
        elif message.sender != self._owner:
            pass  # anybody can send us what looks like logind's
        elif message.interface == logind.MANAGER:
            if member == 'SessionNew':
                self._read(connection, body[0], body[1])
            elif member == 'SessionRemoved':
                self._tracker.remove(body[0])
        elif message.interface == logind.SESSION:
            if member in ('Lock', 'Unlock'):
                self._tracker.ask(message.path, member == 'Lock')
        elif message.interface == logind.PROPERTIES:
            self._change(connection, message.path, body[1], body[2])

    def _change(
        self,
        connection: bus.Connection,
        path: str,
        changed: Mapping[str, Any],
        dropped: Sequence[str],
    ) -> None:
        known = self._tracker.at(path)
        if known is None:
            return
        if 'LockedHint' in changed:
            # As it was then: it may have changed again.
            self._tracker.lock(known.id, changed['LockedHint'])
        if _TELLING & {*changed, *dropped}:
            self._read(connection, known.id, path)

    def _read(self, connection: bus.Connection, name: str, path: str) -> None:
        session = logind.read(connection, name, path)
        if session is None:
            self._tracker.remove(name)
        else:
            self._tracker.see(session)

    def _look(self) -> None:
        """Look at all sessions anew."""
        assert self._bus is not None
        found = logind.list_sessions(self._bus)
        (self._owner,) = self._bus.ask_driver('GetNameOwner', 's', logind.NAME)
        if self._begun:
            self._tracker.compare(found)
        else:
            self._tracker.begin(found)
            self._begun = True
