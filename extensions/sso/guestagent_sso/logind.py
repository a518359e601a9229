# SPDX-License-Identifier: Apache-2.0
"""What systemd's logind knows of sessions, and does with them.

See org.freedesktop.login1(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from guestagent_sso import bus

NAME = 'org.freedesktop.login1'
PATH = '/org/freedesktop/login1'
MANAGER = f'{NAME}.Manager'
SESSION = f'{NAME}.Session'
PROPERTIES = 'org.freedesktop.DBus.Properties'
#: The seat that every machine has.
SEAT = 'seat0'
#: The types of sessions that have a screen to be locked.
GRAPHICAL = ('x11', 'wayland', 'mir')


class Session(NamedTuple):
    """A session, as logind's properties of the same names tell.

    :ivar kind: ``Type``: ``tty``, ``x11``, ``wayland``, ``unspecified``.
    :ivar use: ``Class``: ``user``, ``greeter``, ``lock-screen``, ``background``.
    :ivar locked: ``LockedHint``: what the desktop says.
    """

    id: str
    path: str
    user: str
    uid: int
    seat: str
    kind: str
    use: str
    state: str
    active: bool
    locked: bool
    service: str

    @property
    def of_user(self) -> bool:
        """Whether somebody is logged in, not a greeter nor a part of systemd."""
        return self.use.startswith('user')

    def tell(self) -> dict[str, Any]:
        """Return what callers get."""
        return {
            'id': self.id,
            'user': self.user,
            'uid': self.uid,
            'seat': self.seat or None,
            'type': self.kind,
            'state': self.state,
            'active': self.active,
            'locked': self.locked,
            'service': self.service or None,
        }


def list_sessions(connection: bus.Connection) -> list[Session]:
    """Return all sessions, by their ids.

    :raises bus.BusError: the connection is lost.
    :raises bus.CallError: there is no logind.
    """
    (entries,) = ask(connection, 'ListSessions')
    found = [read(connection, entry[0], entry[4]) for entry in entries]
    return sorted(
        (session for session in found if session is not None),
        key=lambda session: (len(session.id), session.id),
    )


def read(connection: bus.Connection, session: str, path: str) -> Session | None:
    """Return a session; ``None``: it has ended.

    :raises bus.BusError: the connection is lost.
    """
    try:
        (found,) = connection.call(NAME, path, PROPERTIES, 'GetAll', 's', SESSION)
        return _made(session, path, found)
    except bus.CallError:
        return None


def _made(session: str, path: str, found: Mapping[str, Any]) -> Session:
    return Session(
        session,
        path,
        user=found['Name'],
        uid=found['User'][0],
        seat=found['Seat'][0],
        kind=found['Type'],
        use=found['Class'],
        state=found['State'],
        active=found['Active'],
        locked=found['LockedHint'],
        service=found['Service'],
    )


def ask(
    connection: bus.Connection, member: str, signature: str = '', *body: Any
) -> tuple[Any, ...]:
    """Call a method of logind's; errors as :meth:`bus.Connection.call`."""
    return connection.call(NAME, PATH, MANAGER, member, signature, *body)


def active(sessions: list[Session], seat: str) -> Session | None:
    """Return who has a seat, a greeter too; ``None``: nobody."""
    return next((one for one in sessions if one.active and one.seat == seat), None)
