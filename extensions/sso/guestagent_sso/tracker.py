# SPDX-License-Identifier: Apache-2.0
"""Makes events of what is seen of sessions: rules without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from guestagent_sso import logind

#: Takes the name of an event, and whose session it is about.
Notice = Callable[[str, dict[str, Any]], None]


class Tracker:
    """Knows who is logged in, and whose screen is locked.

    :param notice: called for each ``logon``, ``logoff``, ``lock`` and ``unlock``.
    """

    def __init__(self, notice: Notice) -> None:
        self._notice = notice
        self._sessions: dict[str, logind.Session] = {}
        self._locked: set[str] = set()

    def begin(self, sessions: Iterable[logind.Session]) -> None:
        """Take the sessions that are there when the agent starts: they are no news."""
        for session in filter(_counts, sessions):
            self._sessions[session.id] = session
            if session.locked:
                self._locked.add(session.id)

    def compare(self, sessions: Iterable[logind.Session]) -> None:
        """Take all sessions, after some time in which nothing was heard."""
        found = list(sessions)
        for gone in self._sessions.keys() - {session.id for session in found}:
            self.remove(gone)
        for session in found:
            self.see(session)

    def see(self, session: logind.Session) -> None:
        """Take a session as it is now."""
        before = self._sessions.get(session.id)
        if not _counts(session):
            if before is not None:
                self.remove(session.id)
            return
        self._sessions[session.id] = session
        if before is None:
            self._notice('logon', _about(session))
        if session.locked != (before is not None and before.locked):
            self.lock(session.id, session.locked)

    def remove(self, name: str) -> None:
        """Take note that a session has ended."""
        session = self._sessions.pop(name, None)
        self._locked.discard(name)
        if session is not None:
            self._notice('logoff', _about(session))

    def lock(self, name: str, locked: bool) -> None:
        """Take note that a session's screen was locked, or unlocked."""
        session = self._sessions.get(name)
        if session is None or locked == (name in self._locked):
            return
        (self._locked.add if locked else self._locked.discard)(name)
        self._notice('lock' if locked else 'unlock', _about(session))

    def ask(self, path: str, locked: bool) -> None:
        """Take note that logind asked the desktop on this path to lock its screen.

        Not all desktops tell logind when they have.  What has no screen cannot.
        """
        session = self.at(path)
        if session is not None and session.kind in logind.GRAPHICAL:
            self.lock(session.id, locked)

    def at(self, path: str) -> logind.Session | None:
        """Return the session of a path on the bus, if it counts."""
        return next((one for one in self.sessions() if one.path == path), None)

    def get(self, name: str) -> logind.Session | None:
        """Return the session of an id, if it counts."""
        return self._sessions.get(name)

    def active(self, seat: str) -> logind.Session | None:
        """Return who has the seat."""
        return logind.active(self.sessions(), seat)

    def sessions(self) -> list[logind.Session]:
        """Return the sessions of users who are there, ``locked`` as it is known here.

        From any thread.
        """
        locked = self._locked
        return [
            session._replace(locked=session.id in locked)
            for session in list(self._sessions.values())
        ]


def _counts(session: logind.Session) -> bool:
    # One that is closing is over for who had it: only processes are left.
    return session.of_user and session.state != 'closing'


def _about(session: logind.Session) -> dict[str, Any]:
    return {
        'session': session.id,
        'user': session.user,
        'uid': session.uid,
        'seat': session.seat or None,
        'type': session.kind,
    }
