# SPDX-License-Identifier: Apache-2.0
"""Lines of redis.conf; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from guestagent import errors
from guestagent_datastore import models

HEAD = '# Written by the guest agent; changes are lost.\n'

_NAME = re.compile(r'[a-z][a-z0-9_-]*\Z')
#: Other files, code, accounts, and commands under other names: not an operator's text.
_LEFT_OUT = re.compile(
    r'\s*(include|loadmodule|user|aclfile|requirepass|rename-command)\b', re.IGNORECASE
)


def check_name(name: str) -> str:
    """Return a parameter's name in small letters, as names have no case.

    :raises guestagent.errors.InvalidArgument: it cannot be one.
    """
    lowered = name.lower()
    if not _NAME.match(lowered):
        raise errors.InvalidArgument(f'{name!r}: no parameter can have this name')
    return lowered


def text(value: models.Value) -> str:
    """Return a value as the server reads it, before it is quoted.

    :raises guestagent.errors.InvalidArgument: it cannot be written.
    """
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise errors.InvalidArgument('a value is no valid Unicode') from None
    return str(value)


def quote(value: str) -> str:
    r"""Return a value as one word of the file.

    >>> quote('a "b"')
    '"a \\x22b\\x22"'
    """
    made = [
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f'\\x{byte:02x}'
        for byte in value.encode()
    ]
    return f'"{"".join(made)}"'


def lines(values: Mapping[str, models.Value]) -> str:
    """Return a file that sets these parameters."""
    return HEAD + ''.join(
        f'{name} {quote(text(value))}\n' for name, value in values.items()
    )


def without_others(contents: str) -> str:
    """Return an operator's text without what is not a parameter."""
    kept = [line for line in contents.splitlines() if not _LEFT_OUT.match(line)]
    return '\n'.join([*kept, ''])
