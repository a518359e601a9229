# SPDX-License-Identifier: Apache-2.0
"""The lines between the agent and an extension's process (doc/stdio.rst); no I/O."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator, Mapping
from typing import Any

from guestagent import errors, jsontext
from guestagent.agent import isolation

#: The version of the protocol.
PROTOCOL = isolation.PROTOCOL

#: The longest line that the agent reads, in bytes.
LINE_MAX = 16 * 1024 * 1024 + 65536

#: How much of a wrong line is quoted.
_QUOTED = 80

Message = dict[str, Any]

# Made once, as json.dumps and json.loads would make some for each message; what they
# would make of bytes that are no UTF-8 is none of our protocol.
_encode = json.JSONEncoder(separators=(',', ':'), check_circular=False).encode
_decode = json.JSONDecoder().decode


class Broken(Exception):
    """What came is not of the protocol; says what is wrong with it."""


class Lines:
    """Makes messages of the bytes that come."""

    def __init__(self, longest: int = LINE_MAX) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes and return the messages that they complete.

        :raises Broken: a line is too long, or no message.
        """
        whole = 0 < data.find(b'\n') + 1 == len(data) <= self._longest
        if whole and not self._parts:
            yield decode(data)  # one whole line, as nearly always
            return
        while data:
            line, end, data = data.partition(b'\n')
            self._size += len(line)
            if self._size > self._longest:
                raise Broken(f'a line is longer than {self._longest} bytes')
            if not end:
                self._parts.append(line)
                return
            if self._parts:
                line = b''.join((*self._parts, line))
                self._parts.clear()
            self._size = 0
            yield decode(line)

    def end(self) -> None:
        """Note that no more will come.

        :raises Broken: the last line is not complete.
        """
        if self._size:
            raise Broken('the output ended within a line')


def decode(line: bytes) -> Message:
    """Return the message in a line.

    :raises Broken: there is none.
    """
    try:
        message = _decode(line.decode())
    except (ValueError, RecursionError):
        raise Broken(f'a line is not JSON: {_quote(line)}') from None
    if not isinstance(message, dict) or not isinstance(message.get('type'), str):
        raise Broken(f'a line is no message (an object with "type"): {_quote(line)}')
    return jsontext.recognized(message, line)


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as a line.

    :raises TypeError, ValueError, RecursionError: JSON cannot carry it.
    """
    return jsontext.written(message, _encode).encode() + b'\n'


def failure(error: BaseException) -> Message:
    """Return the fields that say what an error was."""
    kind = type(error)
    return {'error': kind.__name__, 'module': kind.__module__, 'message': str(error)}


def error(message: Mapping[str, Any]) -> Exception:
    """Return the error of :func:`failure`, or of another language's program.

    A name of this project's errors or of Python's own is that error; any other is a
    class of that name.  Its text is what was sent, whatever the class makes of texts.
    """
    name = str(message.get('error') or errors.GuestError.__name__)
    text = str(message.get('message', ''))
    for place in (errors, builtins):
        kind = getattr(place, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return _known(kind, text)
    if not name.isidentifier():
        name = errors.GuestError.__name__
    kind = type(name, (Exception,), {'__module__': str(message.get('module', ''))})
    other: Exception = kind(text)
    return other


def _known(kind: type[Exception], text: str) -> Exception:
    if issubclass(kind, ExceptionGroup):
        kind = type(kind.__name__, (Exception,), {'__module__': kind.__module__})
    made = kind.__new__(kind)
    made.args = (text,)
    if str(made) != text:  # as KeyError quotes it, and UnicodeError wants more
        about = {'__module__': kind.__module__, '__str__': lambda self: text}
        kind = type(kind.__name__, (kind,), about)
        made = kind.__new__(kind)
        made.args = (text,)
    return made


def _quote(line: bytes) -> str:
    return repr(line[:_QUOTED].decode('utf-8', 'replace'))
