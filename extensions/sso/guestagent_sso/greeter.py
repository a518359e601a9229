# SPDX-License-Identifier: Apache-2.0
"""Tells the greeter of a seat that a user's credentials can be had.

Stock GNOME's greeter and its unlock dialog listen to this name and this signal, which
are oVirt's, and start the PAM service ``gdm-ovirtcred`` with the token.  Only programs
of the user who has the seat hear it: a greeter's, or those of the user who logs in, to
unlock the screen.
"""

from __future__ import annotations

from guestagent import errors
from guestagent_sso import bus, logind, wire

NAME = 'org.ovirt.vdsm.Credentials'
PATH = '/org/ovirt/vdsm/Credentials'
SIGNAL = 'UserAuthenticated'


class Herald:
    """Has the name on the system's bus, until it is closed.

    :raises guestagent.errors.GuestError: it cannot have it.
    """

    def __init__(self, address: str) -> None:
        try:
            self._bus = bus.Connection(address)
        except bus.BusError as error:
            raise errors.GuestError(f'no D-Bus: {error}') from None
        try:
            self._bus.own(NAME)
        except (bus.BusError, bus.CallError) as error:
            self._bus.close()
            raise errors.GuestError(f'{NAME} on D-Bus: {error}') from None

    def close(self) -> None:
        """Give the name away."""
        self._bus.close()

    def tell(self, user: str, seat: str, token: str) -> int:
        """Tell the token to who has the seat; return how many programs were told.

        :raises guestagent.errors.GuestError: it is another user's, or nobody's.
        """
        try:
            uid = self._holder(user, seat)
            listeners = self._programs(uid)
            for name in listeners:
                self._bus.send(
                    wire.Message(
                        *(wire.SIGNAL, PATH, NAME, SIGNAL, name), *('s', (token,))
                    )
                )
            return len(listeners)
        except (bus.BusError, bus.CallError) as error:
            raise errors.GuestError(f'the greeter cannot be told: {error}') from None

    def _holder(self, user: str, seat: str) -> int:
        """Return the uid of who has the seat, if that one may be told."""
        session = logind.active(logind.list_sessions(self._bus), seat)
        if session is None:
            raise errors.GuestError(f'{seat} has neither a greeter nor a session')
        if session.of_user and session.user not in (user, user.partition('@')[0]):
            raise errors.GuestError(f'{seat} is in use by another user')
        return session.uid

    def _programs(self, uid: int) -> list[str]:
        """Return a user's connections to the bus."""
        (names,) = self._bus.ask_driver('ListNames')
        found = []
        for name in names:
            if not name.startswith(':') or name == self._bus.name:
                continue
            try:
                (owner,) = self._bus.ask_driver('GetConnectionUnixUser', 's', name)
            except bus.CallError:
                continue  # it has left
            if owner == uid:
                found.append(name)
        return found
