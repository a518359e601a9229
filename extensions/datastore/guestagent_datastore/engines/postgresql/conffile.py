# SPDX-License-Identifier: Apache-2.0
"""Lines of postgresql.conf; no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from guestagent import errors
from guestagent_datastore import models

HEAD = '# Written by the guest agent; changes are lost.\n'

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*\Z')
_ASSIGNMENT = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_.$]*)[\s=]')
_LOCALE = re.compile(r'invalid value for parameter "(lc_[a-z]+)"')
_INCLUDE = re.compile(r'\s*include(_if_exists|_dir)?\b', re.IGNORECASE)


def check_name(name: str) -> str:
    """Return a parameter's name in small letters, as names have no case.

    :raises guestagent.errors.InvalidArgument: it cannot be one.
    """
    if not _NAME.match(name):
        raise errors.InvalidArgument(f'{name!r}: no parameter can have this name')
    return name.lower()


def text(value: models.Value) -> str:
    """Return a value as the server reads it, before it is quoted."""
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return str(value)


def quote(value: str) -> str:
    r"""Return a value as a word of the file.

    >>> quote("it's")
    "'it''s'"

    :raises guestagent.errors.InvalidArgument: it cannot be written.
    """
    if '\0' in value:
        raise errors.InvalidArgument('a value must not contain NUL')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise errors.InvalidArgument('a value is no valid Unicode') from None
    escaped = value.replace('\\', '\\\\').replace("'", "''")
    return "'" + escaped.replace('\n', '\\n').replace('\r', '\\r') + "'"


def lines(values: Mapping[str, models.Value]) -> str:
    """Return a file that sets these parameters."""
    return HEAD + ''.join(
        f'{name} = {quote(text(value))}\n' for name, value in values.items()
    )


def without_includes(contents: str) -> str:
    """Return an operator's text without other files: those of another layout."""
    kept = [line for line in contents.splitlines() if not _INCLUDE.match(line)]
    return '\n'.join([*kept, ''])


def without_parameters(contents: str, names: Collection[str]) -> str:
    """Return a text without the lines that set these parameters."""
    kept = []
    for line in contents.splitlines():
        found = _ASSIGNMENT.match(line)
        if found is None or found[1].lower() not in names:
            kept.append(line)
    return '\n'.join([*kept, ''])


def complaints(said: str) -> str:
    """Return what the server finds wrong in its files, without their names."""
    found = re.findall(r'(?:LOG|ERROR|FATAL|HINT):  (.*)', said)
    lines = [
        re.sub(r' in file "[^"]*" line \d+', '', line)
        for line in found
        if 'contains errors' not in line and 'skipping missing' not in line
    ]
    return '; '.join(lines) or said


def word(value: str) -> str:
    r"""Return a value of a connection string.

    >>> word("it's")
    "'it\\'s'"
    """
    escaped = value.replace('\\', '\\\\').replace("'", "\\'")
    return f"'{escaped}'"


def missing_locales(complaints: str) -> frozenset[str]:
    """Return the parameters of locales that the server does not have.

    Empty if it complains of anything else, too.
    """
    found = [_LOCALE.match(each) for each in complaints.split('; ')]
    if not all(found):
        return frozenset()
    return frozenset(each[1] for each in found if each is not None)
