# SPDX-License-Identifier: Apache-2.0
"""What the lines of an ``authorized_keys`` file mean (sshd(8)); no I/O.

A line is ``[options] type key [comment]``.  All else that stands in a file (comments,
empty lines, what sshd does not understand) is kept as it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from guestagent import errors

#: Of one key; the longest that sshd reads.
_LINE_MAX = 8192
_TYPE = re.compile(r'[A-Za-z0-9][A-Za-z0-9@.-]*')


class Key(NamedTuple):
    """A key: the same in two lines whose options or comments differ."""

    type: str
    blob: str


class Line(NamedTuple):
    """A line that has a key."""

    options: str
    key: Key


def parse(text: str) -> Line | None:
    """Return what a line says, or ``None`` if there is no key in it."""
    text = text.strip(' \t\r')
    key = _key(text)
    if key is not None:
        return Line('', key)
    end = _end_of_options(text)
    key = _key(text[end:].strip(' \t'))
    if key is None or text.startswith('#'):
        return None
    return Line(text[:end], key)


def check(keys: Iterable[str]) -> list[str]:
    """Return the lines to be added; empty ones do not count.

    :raises guestagent.errors.InvalidArgument: one is no line with a key.
    """
    lines = []
    for text in check_text(keys):
        if parse(text) is None:
            raise errors.InvalidArgument(
                f'keys: {_shown(text)} is not a public key as OpenSSH writes it'
            )
        lines.append(text)
    return lines


def check_text(keys: Iterable[str]) -> list[str]:
    """Return the lines that are not empty, without spaces around them.

    :raises guestagent.errors.InvalidArgument: one is no line.
    """
    lines = []
    for text in keys:
        line = text.strip()
        if not all(sign.isprintable() or sign == '\t' for sign in line):
            raise errors.InvalidArgument(
                f'keys: {_shown(line)} is not one line of printable text'
            )
        if len(line) > _LINE_MAX:
            raise errors.InvalidArgument(f'keys: {_shown(line)} is too long')
        if line:
            lines.append(line)
    return lines


def listed(lines: Iterable[str]) -> list[str]:
    """Return the lines of a file that are neither empty nor comments."""
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith('#')]


def added(lines: Sequence[str], keys: Iterable[str]) -> list[str]:
    """Return which of ``keys`` the file lacks: the same key with the same options."""
    present = {parse(line) for line in lines}
    missing = []
    for text in keys:
        line = parse(text)
        if line not in present:
            present.add(line)
            missing.append(text)
    return missing


def without(lines: Sequence[str], keys: Iterable[str]) -> list[str]:
    """Return the lines but those with one of ``keys``, whatever else stands there.

    What is no key in ``keys`` counts for the line that is the same.
    """
    gone = {_identity(text) for text in keys}
    return [line for line in lines if _identity(line) not in gone]


def _identity(text: str) -> Key | str:
    line = parse(text)
    return text.strip() if line is None else line.key


def _end_of_options(text: str) -> int:
    """Return where the first space is that stands in no quotes; they may be escaped."""
    quoted = escaped = False
    for position, sign in enumerate(text):
        if escaped:
            escaped = False
        elif sign == '\\':
            escaped = text[position + 1 : position + 2] == '"'
        elif sign == '"':
            quoted = not quoted
        elif sign in ' \t' and not quoted:
            return position
    return len(text)


def _key(text: str) -> Key | None:
    """Return the key that a text begins with; the key itself names its type."""
    words = text.split(None, 2)
    if len(words) < 2 or not _TYPE.fullmatch(words[0]):
        return None
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = words[0].encode('ascii')
    if not blob.startswith(len(kind).to_bytes(4, 'big') + kind):
        return None
    return Key(words[0], words[1])


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f'{text[:40]}...')
