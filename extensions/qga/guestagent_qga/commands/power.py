# SPDX-License-Identifier: Apache-2.0
"""Power and time, by the extension ``power``."""

from __future__ import annotations

from typing import Any

from guestagent_qga import errors
from guestagent_qga import guest as guests

Arguments = dict[str, Any]

_MODES = {'halt': 'halt', 'powerdown': 'poweroff', 'reboot': 'reboot'}


def get_time(guest: guests.Guest, arguments: Arguments) -> int:
    """Return the time in nanoseconds since 1970, UTC."""
    found: int = guest.call('power', 'get_time')['nanoseconds']
    return found


def set_time(guest: guests.Guest, arguments: Arguments) -> None:
    """Set the clock, to that of the hardware if no time is given."""
    wanted = {'nanoseconds': arguments['time']} if 'time' in arguments else {}
    try:
        guest.call('power', 'set_time', **wanted)
    except errors.FAILED as error:
        if wanted:
            text = f'Failed to set time to guest: {errors.reason(error)}'
            raise errors.CommandError(text) from error
        raise


def shutdown(guest: guests.Guest, arguments: Arguments) -> None:
    """Shut the guest down; no answer says that it will."""
    mode = arguments.get('mode', 'powerdown')
    if mode not in _MODES:
        raise errors.CommandError(
            'mode is invalid (valid values are: halt|powerdown|reboot'
        )
    guest.call('power', 'shutdown', mode=_MODES[mode])


def suspend_disk(guest: guests.Guest, arguments: Arguments) -> None:
    """Suspend the guest to disk."""
    guest.call('power', 'suspend', kind='disk')


def suspend_ram(guest: guests.Guest, arguments: Arguments) -> None:
    """Suspend the guest to RAM."""
    guest.call('power', 'suspend', kind='ram')


def suspend_hybrid(guest: guests.Guest, arguments: Arguments) -> None:
    """Suspend the guest to both."""
    guest.call('power', 'suspend', kind='hybrid')
