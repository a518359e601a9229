# SPDX-License-Identifier: Apache-2.0
"""``power``: shut the guest down, suspend it, and set its clock.

What a command needs is imported when the first one runs: an idle agent does without
it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from guestagent import errors, extension
from guestagent_power import later

if TYPE_CHECKING:
    from oslo_config import cfg

LOG = logging.getLogger(__name__)

#: The longest time for which a shutdown can be put off, in seconds.
DELAY_MAX = 30 * 86400
#: The longest message, in characters.
MESSAGE_MAX = 1000


class Power(extension.Extension):
    """Answers ``power.shutdown`` and its cancel, ``suspend``, and sets the time."""

    version = '1.0'
    needs_root = 'to shut the guest down, to suspend it, and to set its clock'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._shutdown, self._sleep = (
            later.Later(f'power-{what}', functools.partial(self._ended, what))
            for what in ('shutdown', 'suspend')
        )

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of [power]."""
        from guestagent_power import conf

        return conf.OPTIONS

    def stop(self) -> None:
        """Do at once what was promised for this moment; give up what is further off."""
        self._sleep.cancel()
        left = self._shutdown.left()
        if left is not None and left <= self.conf.moment:
            self._shutdown.hurry()
        elif self._shutdown.cancel():
            self._ended('shutdown', 'the agent was stopped before its time had come')

    def health(self) -> str:
        """Return what failed after its command had been answered."""
        problems = self._problems
        return '; '.join(f'{what}: {problems[what]}' for what in problems) or 'ok'

    def busy(self) -> bool:
        """Whether a shutdown or a suspend is still to come that only it knows of."""
        return self._shutdown.left() is not None or self._sleep.left() is not None

    @extension.command(mutates=True, timeout=60)
    def shutdown(
        self,
        context: extension.Context,
        mode: Literal['poweroff', 'reboot', 'halt'] = 'poweroff',
        delay: float = 0,
        message: str = '',
    ) -> dict[str, Any]:
        """Shut the guest down after ``delay`` seconds; this replaces one that waits.

        ``message`` is shown to those who are logged in.  The answer leaves first: the
        guest goes down after ``[power] moment`` seconds at the earliest.

        The result is ``{mode, at, by}``: when it is due, in UNIX seconds, and who waits
        until then: ``logind``, or ``agent`` where there is none.

        :raises guestagent.errors.InvalidArgument: delay or message make no sense.
        :raises guestagent.errors.GuestError: the guest has nothing that can do it.
        """
        from guestagent_power import halting, logind, programs

        seconds = max(_delay(delay), self.conf.moment)
        _check_message(message)
        path = self.conf.path
        with self._lock:
            manager = logind.Logind(path)
            if manager.can('PowerOff') is not None:
                self._shutdown.cancel()
                manager.schedule(mode, seconds, message)
                by = 'logind'
            else:
                argv = halting.command(mode, path)
                halting.tell(message, path)
                self._shutdown.begin(
                    seconds, functools.partial(programs.run, argv, path, seconds=60)
                )
                by = 'agent'
        LOG.warning('%s in %.0f s, asked by %r', mode, seconds, context.caller)
        return {'mode': mode, 'at': int(time.time() + seconds), 'by': by}

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def cancel(self, context: extension.Context) -> dict[str, bool]:
        """Give up a shutdown that waits; return ``{cancelled}``: whether one did.

        :raises guestagent.errors.GuestError: logind refuses.
        """
        from guestagent_power import logind

        with self._lock:
            cancelled = self._shutdown.cancel()
            manager = logind.Logind(self.conf.path)
            if manager.can('PowerOff') is not None:
                cancelled = manager.cancel() or cancelled
        return {'cancelled': cancelled}

    @extension.command(mutates=True, timeout=60)
    def suspend(
        self, context: extension.Context, kind: Literal['disk', 'ram', 'hybrid']
    ) -> dict[str, str]:
        """Suspend the guest to disk, to RAM, or to both; return ``{kind}``.

        The answer leaves first, after it is known that the guest can; if it fails
        nevertheless there is an event ``power.failed``.

        :raises guestagent.errors.GuestError: the guest cannot, and why.
        """
        from guestagent_power import sleeping

        with self._lock:
            action = sleeping.prepare(kind, self.conf.path)
            self._sleep.begin(self.conf.moment, action)
        LOG.warning('suspend to %s, asked by %r', kind, context.caller)
        return {'kind': kind}

    @extension.command(mutates=False, timeout=10)
    def get_time(self, context: extension.Context) -> dict[str, int]:
        """Return ``{nanoseconds}``: the guest's time since 1970, UTC."""
        return {'nanoseconds': time.time_ns()}

    @extension.command(mutates=True, timeout=30)
    def set_time(
        self, context: extension.Context, nanoseconds: int | None = None
    ) -> dict[str, Any]:
        """Set the guest's clock to nanoseconds since 1970, UTC, and the hardware clock.

        Without ``nanoseconds`` the clock is set to the hardware clock.  The result is
        ``{nanoseconds, hardware_clock, reason}``: what it was set to; whether the
        hardware clock agrees; and if not, why.

        :raises guestagent.errors.InvalidArgument: no clock can show this time.
        :raises guestagent.errors.GuestError: the kernel refuses, or there is no
            hardware clock to take it from.
        """
        from guestagent_power import clock

        if nanoseconds is None:
            wanted = clock.read_hardware()
            clock.set_system(wanted)
            return {'nanoseconds': wanted, 'hardware_clock': True, 'reason': ''}
        clock.set_system(nanoseconds)
        try:
            clock.write_hardware()
            reason = ''
        except errors.GuestError as error:
            # Not every guest has one, and the clock that counts is right.
            reason = str(error)
            LOG.warning('the clock was set, but not %s', reason)
        return {
            'nanoseconds': nanoseconds,
            'hardware_clock': not reason,
            'reason': reason,
        }

    def _ended(self, what: str, problem: str) -> None:
        """Take note of the end of what was done after its command was answered."""
        # Replaced, never changed: health() reads it from other threads.
        self._problems = {
            **{key: text for key, text in self._problems.items() if key != what},
            **({what: problem} if problem else {}),
        }
        if problem:
            LOG.error('%s failed: %s', what, problem)
            self.report_event('failed', {'action': what, 'error': problem})


def _delay(asked: float) -> float:
    # NaN is neither above nor below.
    if not 0 <= asked <= DELAY_MAX:
        raise errors.InvalidArgument(
            f'delay: {asked:g} is not between 0 and {DELAY_MAX} seconds'
        )
    return asked


def _check_message(message: str) -> None:
    """Refuse what could do something to the terminals on which it is shown."""
    if len(message) > MESSAGE_MAX:
        raise errors.InvalidArgument(
            f'message: it has more than {MESSAGE_MAX} characters'
        )
    if not all(character.isprintable() or character == '\n' for character in message):
        raise errors.InvalidArgument('message: it must not contain control characters')
