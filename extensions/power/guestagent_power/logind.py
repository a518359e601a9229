# SPDX-License-Identifier: Apache-2.0
"""Speaks to systemd's logind, by ``busctl``, which comes with it.

See org.freedesktop.login1(5).  A library for D-Bus would be in memory for what happens
once in a guest's life.
"""

from __future__ import annotations

import time

from guestagent import errors
from guestagent_power import programs

_MANAGER = (
    'org.freedesktop.login1',
    '/org/freedesktop/login1',
    'org.freedesktop.login1.Manager',
)


class Logind:
    """The logind of this guest, if there is one.

    :param path: where ``busctl`` is looked for.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def can(self, what: str) -> str | None:
        """Return logind's word for whether something can be done; ``None``: no logind.

        :param what: ``PowerOff``, ``Suspend`` and others.
        :returns: ``yes``, ``na`` (the guest cannot), ``no`` or ``challenge`` (this
            process may not), or another word of a later logind's.
        """
        if programs.find('busctl', self._path) is None:
            return None
        try:
            return self._call(f'Can{what}')
        except errors.GuestError:
            # Not there, or of no use: then something else must do.
            return None

    def schedule(self, mode: str, seconds: float, message: str) -> None:
        """Shut the guest down after some time; this replaces what was scheduled.

        :param mode: ``poweroff``, ``reboot`` or ``halt``.
        :raises guestagent.errors.GuestError: logind refuses.
        """
        at = int((time.time() + seconds) * 1_000_000)
        self._call('SetWallMessage', 'sb', message, 'true')
        self._call('ScheduleShutdown', 'st', mode, str(at))

    def cancel(self) -> bool:
        """Give up what was scheduled; return whether something was.

        :raises guestagent.errors.GuestError: logind refuses.
        """
        return self._call('CancelScheduledShutdown') == 'true'

    def sleep(self, what: str) -> None:
        """Do what is named: ``Suspend``, ``Hibernate`` or ``HybridSleep``.

        :raises guestagent.errors.GuestError: logind refuses.
        """
        self._call(what, 'b', 'false')

    def _call(self, method: str, signature: str = '', *arguments: str) -> str:
        """Call a method; return the one value of its answer, or ``''``."""
        # After the -- nothing is an option, whatever a message begins with.
        options = ('--system', '--timeout=20', '--')
        argv = ['busctl', *options, 'call', *_MANAGER, method]
        if signature:
            argv += [signature, *arguments]
        answer = programs.run(
            [programs.find('busctl', self._path) or argv[0], *argv[1:]], self._path
        )
        # As in: s "yes"
        return answer.strip().partition(' ')[2].strip('"')
