# SPDX-License-Identifier: Apache-2.0
"""Names, passwords and hosts as PostgreSQL takes them; no I/O.

The server cuts a name that is too long, silently: so it is refused here.
"""

from __future__ import annotations

import ipaddress
import re

from guestagent import errors

#: The longest name, in bytes.
NAME_MAX = 63
#: From everywhere.
ANYWHERE = '%'

_NAME_OF_HOST = re.compile(r'\.?[0-9A-Za-z_]([0-9A-Za-z_.-]{0,252})\Z')
#: The first one to three numbers of an IPv4 address, then the wildcard.
_PATTERN = re.compile(r'(\d{1,3}\.){1,3}%\Z')


def check(what: str, name: str) -> str:
    """Return a name that the server can have.

    :raises guestagent.errors.InvalidArgument: it cannot.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise errors.InvalidArgument(f'{what}: it is no valid Unicode') from None
    if not 0 < size <= NAME_MAX:
        raise errors.InvalidArgument(
            f'{what}: {name[:NAME_MAX]!r} has {size} bytes, not 1 to {NAME_MAX}'
        )
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        raise errors.InvalidArgument(f'{what}: {name!r} has a control character')
    return name


def check_password(password: str) -> str:
    """Return a password that one can log in with.

    :raises guestagent.errors.InvalidArgument: one cannot.
    """
    if not password:
        raise errors.InvalidArgument('password: it is empty')
    if '\0' in password:
        raise errors.InvalidArgument('password: it must not contain NUL')
    try:
        password.encode()
    except UnicodeEncodeError:
        raise errors.InvalidArgument('password: it is no valid Unicode') from None
    return password


def address(host: str) -> str:
    """Return a host as a line of pg_hba.conf has it; ``all`` for :data:`ANYWHERE`.

    It may be an address, a network as ``10.0.0.0/8`` or ``10.%``, or a name (with a dot
    in front: all names that end so).

    :raises guestagent.errors.InvalidArgument: it is none of these.
    """
    if host == ANYWHERE:
        return 'all'
    text = host
    if _PATTERN.match(host):
        parts = host.split('.')[:-1]
        text = f'{".".join([*parts, *["0"] * (4 - len(parts))])}/{8 * len(parts)}'
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        pass
    if not _NAME_OF_HOST.match(host) or re.fullmatch(r'[\d.]+', host):
        raise errors.InvalidArgument(
            f'host: {host[:255]!r} is no address, network or name of a host'
        )
    return host.lower()
