# SPDX-License-Identifier: Apache-2.0
"""Passwords and SSH keys, by the extension ``accounts``."""

from __future__ import annotations

import binascii
from typing import Any

from guestagent_qga import base64, errors
from guestagent_qga import guest as guests

Arguments = dict[str, Any]


def set_user_password(guest: guests.Guest, arguments: Arguments) -> None:
    """Set a password; it comes in base64, and may be one that is crypted already."""
    user = arguments['username']
    data = binascii.a2b_base64(base64.clean(arguments['password']))
    if b'\n' in data:
        raise errors.CommandError('forbidden characters in raw password')
    if '\n' in user or ':' in user:
        raise errors.CommandError('forbidden characters in username')
    try:
        password = data.decode()
    except UnicodeDecodeError:
        raise errors.CommandError('the password is not UTF-8 text') from None
    guest.call(
        'accounts',
        'set_password',
        user=user,
        password=password,
        crypted=arguments['crypted'],
    )


def ssh_get_authorized_keys(
    guest: guests.Guest, arguments: Arguments
) -> dict[str, list[str]]:
    """Return the keys that may log in as a user."""
    found = guest.call('accounts', 'list_keys', user=arguments['username'])
    return {'keys': found['keys']}


def ssh_add_authorized_keys(guest: guests.Guest, arguments: Arguments) -> None:
    """Add keys, or put them in the place of all others."""
    guest.call(
        'accounts',
        'add_keys',
        user=arguments['username'],
        keys=arguments['keys'],
        replace=arguments.get('reset', False),
    )


def ssh_remove_authorized_keys(guest: guests.Guest, arguments: Arguments) -> None:
    """Take keys away."""
    guest.call(
        'accounts', 'remove_keys', user=arguments['username'], keys=arguments['keys']
    )
