# SPDX-License-Identifier: Apache-2.0
"""Make values of tokens as QEMU's parser of JSON does, with its words for faults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from guestagent_qga import lexer

_KEYWORDS = {b'true': True, b'false': False, b'null': None}
_ESCAPES = {
    b'"': '"',
    b"'": "'",
    b'\\': '\\',
    b'/': '/',
    b'b': '\b',
    b'f': '\f',
    b'n': '\n',
    b'r': '\r',
    b't': '\t',
}
_EMPTY = {'{': dict, '[': list}
_HEX = re.compile(rb'[0-9a-fA-F]{4}')
# Up to the next escape, or the end.
_PLAIN = re.compile(rb'[^\\]*')
_INT_MIN, _UINT_MAX = -(2**63), 2**64 - 1
#: A longer text of digits is beyond any integer here.
_DIGITS_MAX = 20


class ParseError(Exception):
    """A message is no JSON; the text is what comes after ``JSON parse error, ``."""


def parse(tokens: Sequence[lexer.Token]) -> Any:
    """Return the value of the tokens of one message.

    Nothing here is recursive: a message may be deeper than Python's own calls.

    :raises ParseError: they are none.
    """
    reader = _Reader(tokens)
    # The lists and objects that are open, each with the key whose value comes next;
    # None: the key itself does.
    stack: list[tuple[Any, str | None]] = []
    while True:
        kind, text = reader.take()
        if kind == '{' and not reader.skip('}'):
            stack.append(({}, None))
            continue
        if kind == '[' and not reader.skip(']'):
            stack.append(([], ''))
            continue
        value: Any = _EMPTY[kind]() if kind in _EMPTY else _scalar(kind, text)
        while stack:
            inside, key = stack.pop()
            if not _put(inside, key, value, reader, stack):
                break
            value = inside
        else:
            return value


def _put(
    inside: Any,
    key: str | None,
    value: Any,
    reader: _Reader,
    stack: list[tuple[Any, str | None]],
) -> bool:
    """Put a value where it belongs; return whether that is complete now."""
    if isinstance(inside, list):
        inside.append(value)
        if reader.skip(']'):
            return True
        if not reader.skip(','):
            raise ParseError('expected separator in list')
        stack.append((inside, ''))
        return False
    if key is None:
        if not isinstance(value, str):
            raise ParseError('key is not a string in object')
        if not reader.skip(':'):
            raise ParseError('missing : in object pair')
        stack.append((inside, value))
        return False
    if key in inside:
        raise ParseError('duplicate key')
    inside[key] = value
    if reader.skip('}'):
        return True
    if not reader.skip(','):
        raise ParseError('expected separator in dict')
    stack.append((inside, None))
    return False


class _Reader:
    """Walks over tokens."""

    def __init__(self, tokens: Sequence[lexer.Token]) -> None:
        self._tokens = iter(tokens)
        self._next: lexer.Token | None = None

    def take(self) -> lexer.Token:
        """Return the next one."""
        found, self._next = self._next, None
        return found or next(self._tokens, ('', b''))

    def skip(self, kind: str) -> bool:
        """Take the next one if it is of this kind."""
        if self._next is None:
            self._next = next(self._tokens, ('', b''))
        if self._next[0] != kind:
            return False
        self._next = None
        return True


def _scalar(kind: str, text: bytes) -> Any:
    if kind == lexer.STRING:
        return _string(text)
    if kind == lexer.INTEGER:
        return integer(text.decode())
    if kind == lexer.FLOAT:
        return float(text)
    if kind == lexer.KEYWORD:
        if text not in _KEYWORDS:
            raise ParseError(f"invalid keyword '{readable(text)}'")
        return _KEYWORDS[text]
    raise ParseError('expecting value')


def integer(text: str) -> int | float:
    """Return a number of 64 bits, with or without sign, or the nearest float."""
    if len(text) <= _DIGITS_MAX:
        value = int(text)
        if _INT_MIN <= value <= _UINT_MAX:
            return value
    return float(text)


def readable(text: bytes) -> str:
    """Return what an error quotes: as text, and not beyond a NUL."""
    return text.partition(b'\0')[0].decode('utf-8', 'replace')


def _string(token: bytes) -> str:
    """Return the value of a string with its quotes."""
    parts = []
    at, end = 1, len(token) - 1
    while at < end:
        match = _PLAIN.match(token, at, end)
        stop = match.end() if match else at
        if stop > at:
            parts.append(_text(token[at:stop]))
        at = stop
        if at < end:
            char, at = _escape(token, at)
            parts.append(char)
    return ''.join(parts)


def _text(data: bytes) -> str:
    try:
        # QEMU has NUL as two bytes, which is no UTF-8 elsewhere.
        text = data.replace(b'\xc0\x80', b'\0').decode()
    except UnicodeDecodeError:
        text = '\uffff'
    if not text.isascii() and any(map(_is_no_character, map(ord, text))):
        raise ParseError('invalid UTF-8 sequence in string')
    return text


def _escape(token: bytes, at: int) -> tuple[str, int]:
    """Return the character of an escape, and where the next one is."""
    letter = token[at + 1 : at + 2]
    if letter != b'u':
        if letter not in _ESCAPES:
            raise ParseError('invalid escape sequence in string')
        return _ESCAPES[letter], at + 2
    end = at + 6
    code = _hex(token, at + 2)
    if 0xD800 <= code <= 0xDBFF and token[end : end + 2] == b'\\u':
        second = _hex(token, end + 2)
        if 0xDC00 <= second <= 0xDFFF:
            code = 0x10000 + ((code & 0x3FF) << 10 | second & 0x3FF)
            end += 6
    if code < 0 or _is_no_character(code):
        text = f'{readable(token[at:end])} is not a valid Unicode character'
        raise ParseError(text)
    return chr(code), end


def _hex(token: bytes, at: int) -> int:
    match = _HEX.match(token, at)
    return int(match[0], 16) if match else -1


def _is_no_character(code: int) -> bool:
    return (
        0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    )
