# SPDX-License-Identifier: Apache-2.0
"""Names and passwords as MariaDB's statements have them; no I/O.

A value that would not do is refused with what is wrong, before the server sees it.
"""

from __future__ import annotations

import hashlib
import re

from guestagent import errors

#: The longest names, in characters.
DATABASE_MAX, USER_MAX, HOST_MAX = 64, 80, 255

_HOST = re.compile(r'[0-9A-Za-z._:%/-]+\Z')
_WORD = re.compile(r'[0-9A-Za-z_]+\Z')


def identifier(name: str) -> str:
    """Return a name in backticks."""
    return '`' + name.replace('`', '``') + '`'


def pattern(name: str) -> str:
    r"""Return a database's name as GRANT has it, where ``%`` and ``_`` are wildcards.

    >>> pattern('my_db')
    '`my\\_db`'
    """
    return identifier(re.sub(r'([\\%_])', r'\\\1', name))


def from_pattern(text: str) -> str:
    r"""Return the name that :func:`pattern` was made of.

    >>> from_pattern('my\\_db')
    'my_db'
    """
    return re.sub(r'\\([\\%_])', r'\1', text)


def check_database(name: str) -> str:
    """Return the name of a database.

    :raises guestagent.errors.InvalidArgument: the server cannot have it.
    """
    _check('database', name, DATABASE_MAX)
    if name.endswith(' '):
        raise errors.InvalidArgument(f'database: {name!r} ends with a space')
    return name


def check_user(name: str) -> str:
    """Return the name of a user.

    :raises guestagent.errors.InvalidArgument: the server cannot have it.
    """
    _check('user', name, USER_MAX)
    return name


def check_host(host: str) -> str:
    """Return from where a user may come, as the server keeps it.

    :raises guestagent.errors.InvalidArgument: it is no host.
    """
    _check('host', host, HOST_MAX)
    if not _HOST.match(host):
        raise errors.InvalidArgument(
            f'host: {host!r} is no name or address, nor one with the wildcards % and _'
        )
    return host.lower()


def check_word(what: str, word: str) -> str:
    """Return a word that is written into a statement as it is.

    :raises guestagent.errors.InvalidArgument: it is none.
    """
    if not _WORD.match(word):
        raise errors.InvalidArgument(
            f'{what}: {word!r} is not made of letters, digits and _'
        )
    return word


def password_hash(password: str) -> str:
    """Return what the server keeps of a password: the text itself never gets to it.

    :raises guestagent.errors.InvalidArgument: it is empty, or no text.
    """
    if not password:
        raise errors.InvalidArgument('password: it is empty')
    try:
        raw = password.encode()
    except UnicodeEncodeError:
        raise errors.InvalidArgument('password: it is no valid Unicode') from None
    twice = hashlib.sha1(hashlib.sha1(raw).digest())
    return f'*{twice.hexdigest().upper()}'


def _check(what: str, name: str, most: int) -> None:
    if not 0 < len(name) <= most:
        raise errors.InvalidArgument(
            f'{what}: {name[:most]!r} has {len(name)} characters, not 1 to {most}'
        )
    # The server's tables of names hold the basic plane only.
    if any(ord(letter) > 0xFFFF or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise errors.InvalidArgument(
            f'{what}: {name!r} has a character that the server cannot have in names'
        )
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        raise errors.InvalidArgument(f'{what}: {name!r} has a control character')
