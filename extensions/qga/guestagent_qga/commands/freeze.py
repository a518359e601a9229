# SPDX-License-Identifier: Apache-2.0
"""Freezing and trimming filesystems, by the extension ``fsfreeze``."""

from __future__ import annotations

from typing import Any

from guestagent_qga import guest as guests

Arguments = dict[str, Any]


def fsfreeze_status(guest: guests.Guest, arguments: Arguments) -> str:
    """Return ``thawed`` or ``frozen``."""
    found: str = guest.call('fsfreeze', 'status')['state']
    if guest.frozen != (found == 'frozen'):
        guest.note_frozen(found == 'frozen')
    return found


def fsfreeze_freeze(guest: guests.Guest, arguments: Arguments) -> int:
    """Freeze all filesystems; return how many."""
    return _freeze(guest)


def fsfreeze_freeze_list(guest: guests.Guest, arguments: Arguments) -> int:
    """Freeze those that are mounted at these places, or all; return how many."""
    if 'mountpoints' in arguments:
        return _freeze(guest, mountpoints=arguments['mountpoints'])
    return _freeze(guest)


def fsfreeze_thaw(guest: guests.Guest, arguments: Arguments) -> int:
    """Thaw what is frozen; return how many filesystems."""
    count: int = guest.call('fsfreeze', 'thaw')['count']
    guest.note_frozen(False)
    return count


def fstrim(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Let the storage have back what filesystems do not use."""
    found = guest.call('fsfreeze', 'trim', minimum=arguments.get('minimum', 0))
    keys = ('path', 'trimmed', 'minimum', 'error')
    return {
        'paths': [
            {key: item[key] for key in keys if item.get(key) is not None}
            for item in found['paths']
        ]
    }


def _freeze(guest: guests.Guest, **wanted: Any) -> int:
    if guest.settings.freeze_limit:
        wanted['limit'] = guest.settings.freeze_limit
    # Before it, for what is frozen may be what this is kept on; one that ends without
    # anything frozen, as qemu-ga's, is thawed again.
    guest.note_frozen(True)
    frozen = False
    try:
        count: int = guest.call('fsfreeze', 'freeze', **wanted)['count']
        frozen = count > 0
    finally:
        if not frozen:
            guest.note_frozen(False)
    return count
