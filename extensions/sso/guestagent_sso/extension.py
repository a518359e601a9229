# SPDX-License-Identifier: Apache-2.0
"""``sso``: log users in at the desktop, lock and unlock it, and log them off.

What a command needs is imported when the first one runs: an idle agent does without
it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension

if TYPE_CHECKING:
    from oslo_config import cfg

    from guestagent_sso import bus, logind

LOG = logging.getLogger(__name__)


class Sso(extension.Extension):
    """Answers ``sso.login``, ``lock``, ``unlock``, ``log_off`` and ``sessions``."""

    version = '1.0'
    needs_root = 'to hand over credentials, and to lock and to end sessions'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._login = threading.Lock()

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of [sso]."""
        from guestagent_sso import conf

        return conf.OPTIONS

    @extension.command(mutates=True, timeout=90, sensitive=('password',))
    def login(
        self, context: extension.Context, user: str, password: str, seat: str = 'seat0'
    ) -> dict[str, Any]:
        """Hand a user's credentials to the greeter of a seat, or to its locked screen.

        The greeter has ``[sso] hold`` seconds to take them.  That it took them does not
        say that the password is right.  The result is ``{user, seat, told}``: how many
        programs at the seat heard of it.

        :raises guestagent.errors.InvalidArgument: user, password or seat make no sense.
        :raises guestagent.errors.Transient: another login has not ended.
        :raises guestagent.errors.GuestError: there is no greeter, or it took nothing.
        """
        from guestagent_sso import bus, greeter, handover, offer

        _check_seat(seat)
        offered = offer.Offer(user, password, seat, self.conf.without_token)
        if not self._login.acquire(blocking=False):
            offered.forget()
            raise errors.Transient('another login has not ended')
        try:
            with (
                contextlib.closing(greeter.Herald(bus.system_address())) as herald,
                contextlib.closing(handover.Listener(self.conf.folder)) as listener,
            ):
                # Who hears of it can ask at once.
                told = herald.tell(user, seat, offered.token)
                seconds = self.conf.hold
                taken = listener.serve(offered, seconds, lambda: context.cancelled)
        finally:
            offered.forget()
            self._login.release()
        context.check()
        if not taken:
            raise errors.GuestError(
                f'nobody took the credentials within {seconds:g} s; {told} programs '
                f'of who has {seat} were told'
            )
        LOG.info('%r has got the credentials of %r', seat, user)
        return {'user': user, 'seat': seat, 'told': told}

    @extension.command(mutates=False, timeout=30)
    def sessions(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return the sessions of users, as logind has them.

        Each is ``{id, user, uid, seat, type, state, active, locked, service}``; what
        there is not is ``None``.

        :raises guestagent.errors.GuestError: there is no logind.
        """
        from guestagent_sso import logind

        with _asking() as connection:
            found = logind.list_sessions(connection)
        return [one.tell() for one in found if one.of_user]

    @extension.command(mutates=True, timeout=30, repeatable=True)
    def lock(
        self, context: extension.Context, session: str | None = None, all: bool = False
    ) -> dict[str, list[str]]:
        """Lock the screen of a session, of all, or of the active one of ``seat0``.

        The desktop is asked, and may take a moment.  The result is ``{sessions}``: the
        ids of those that were asked.

        :raises guestagent.errors.InvalidArgument: there is no such session.
        :raises guestagent.errors.GuestError: nobody is logged in there.
        """
        return self._each('LockSession', session, all)

    @extension.command(mutates=True, timeout=30, repeatable=True)
    def unlock(
        self, context: extension.Context, session: str | None = None, all: bool = False
    ) -> dict[str, list[str]]:
        """Unlock a screen, with no password; arguments, result and errors as ``lock``.

        :raises guestagent.errors.InvalidArgument: there is no such session.
        :raises guestagent.errors.GuestError: nobody is logged in there.
        """
        return self._each('UnlockSession', session, all)

    @extension.command(mutates=True, timeout=30)
    def log_off(
        self,
        context: extension.Context,
        session: str | None = None,
        user: str | None = None,
    ) -> dict[str, list[str]]:
        """End a session, all of a user's, or the active one of ``seat0``, at once.

        The result is ``{sessions}``: the ids of those that ended.

        :raises guestagent.errors.InvalidArgument: both are given, or there is no such
            session.
        :raises guestagent.errors.GuestError: nobody is logged in there.
        """
        if session is not None and user is not None:
            raise errors.InvalidArgument('give session or user, not both')
        if user is None:
            return self._each('TerminateSession', session, False)
        return self._each_of('TerminateSession', lambda found: _of(found, user))

    def _each(self, member: str, session: str | None, every: bool) -> dict[str, Any]:
        if session is not None and every:
            raise errors.InvalidArgument('give session or all, not both')
        if every:
            return self._each_of(member, list)
        return self._each_of(member, lambda found: [_one(found, session)])

    def _each_of(
        self,
        member: str,
        choose: Callable[[list[logind.Session]], list[logind.Session]],
    ) -> dict[str, list[str]]:
        """Ask logind to do something with the sessions that are chosen."""
        from guestagent_sso import logind

        with _asking() as connection:
            found = [one for one in logind.list_sessions(connection) if one.of_user]
            chosen = [one.id for one in choose(found)]
            for each in chosen:
                logind.ask(connection, member, 's', each)
        return {'sessions': chosen}


@contextlib.contextmanager
def _asking() -> Iterator[bus.Connection]:
    """Give a connection to the bus, and the caller the error of what fails there."""
    from guestagent_sso import bus

    try:
        with contextlib.closing(bus.Connection(bus.system_address())) as connection:
            yield connection
    except (bus.BusError, bus.CallError) as error:
        raise errors.GuestError(f'logind: {error}') from None


def _one(sessions: list[logind.Session], session: str | None) -> logind.Session:
    from guestagent_sso import logind

    if session is None:
        found = logind.active(sessions, logind.SEAT)
        if found is None:
            raise errors.GuestError(f'nobody is logged in at {logind.SEAT}')
        return found
    for one in sessions:
        if one.id == session:
            return one
    raise errors.InvalidArgument(f'session: there is none with the id {session!r}')


def _of(sessions: list[logind.Session], user: str) -> list[logind.Session]:
    found = [one for one in sessions if one.user == user]
    if not found:
        raise errors.GuestError(f'{user!r} is not logged in')
    return found


def _check_seat(seat: str) -> None:
    if not seat.startswith('seat') or not seat[4:].replace('-', '').isalnum():
        raise errors.InvalidArgument(f'seat: {seat!r} is no name of a seat')
