# SPDX-License-Identifier: Apache-2.0
"""Lines on the channel: a JSON object each, with the message's name in ``__name__``.

Rules without I/O.  Both sides keep out what XML 1.1 restricts, and surrogates: what
VDSM takes goes into XML.  VDSM gives up a line of :data:`LINE_MAX` bytes, and so do we.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: The most bytes of a line, its end included, as VDSM has it.
LINE_MAX = 1024 * 1024
NAME = '__name__'

#: Behind half a line so many objects, the message's own included, may begin.
_BEGINNINGS = 8

_UNWANTED = re.compile(
    '[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]'
)


class Broken(Exception):
    """A line that is no message, and why."""


class TooLong(Exception):
    """A message that VDSM would not take."""


class Message:
    """A message: its name, and what else stands beside it."""

    __slots__ = ('fields', 'name')

    def __init__(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.fields: Mapping[str, Any] = fields or {}


def clean(value: Any) -> Any:
    """Return a value with U+FFFD for each unwanted character, in keys too."""
    if isinstance(value, str):
        return _UNWANTED.sub('\ufffd', value)
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def encode(message: Message) -> bytes:
    """Return the line of a message.

    :raises TooLong: VDSM would drop it.
    """
    line = json.dumps({**clean(message.fields), NAME: message.name}).encode() + b'\n'
    if len(line) > LINE_MAX:
        raise TooLong(f'{message.name} takes {len(line)} bytes, more than {LINE_MAX}')
    return line


class Lines:
    """Makes messages of the bytes that come, however they are cut."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Message | Broken]:
        """Take bytes; yield a message, or what is wrong, for each line that ended."""
        *ended, rest = data.split(b'\n')
        for part in ended:
            line, self._kept = bytes(self._kept) + part, bytearray()
            if self._skipping:
                self._skipping = False
            elif len(line) >= LINE_MAX:
                yield _too_long()
            elif line.strip():
                found = _read(line)
                if isinstance(found, Broken):
                    found = _behind_half_a_line(line) or found
                yield found
        if not self._skipping:
            self._kept += rest
            if len(self._kept) >= LINE_MAX:
                self._kept = bytearray()
                self._skipping = True
                yield _too_long()

    def reset(self) -> None:
        """Forget half a line: who wrote it has gone."""
        self._kept = bytearray()
        self._skipping = False


def _read(line: bytes) -> Message | Broken:
    try:
        found = json.loads(line.decode('utf-8', 'replace'))
    except (ValueError, RecursionError) as error:
        return Broken(f'a line is no JSON: {error}')
    if not isinstance(found, dict):
        return Broken(f'a line is no object but {type(found).__name__}')
    fields = clean(found)
    name = fields.pop(NAME, None)
    if not isinstance(name, str):
        return Broken(f'a message has no {NAME}')
    return Message(name, fields)


def _behind_half_a_line(line: bytes) -> Message | None:
    """Return the message at the end of a line that another host has begun.

    One that goes and another that comes at once cannot be told apart: the port says
    only whether somebody is there now.
    """
    start = len(line)
    for _ in range(_BEGINNINGS):
        # Within a string the quotation mark would have a backslash.
        start = line.rfind(b'{"', 0, start)
        if start <= 0:
            return None
        found = _read(line[start:])
        if isinstance(found, Message):
            return found
    return None


def _too_long() -> Broken:
    return Broken(f'a line is longer than {LINE_MAX} bytes and was dropped')
