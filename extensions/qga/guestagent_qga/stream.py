# SPDX-License-Identifier: Apache-2.0
"""Find the messages in what a client sends, as QEMU's JSON stream parser does; no I/O.

A message is complete with the brace that closes it; no newline is needed.  Python's own
scanner reads what is usual, and :mod:`guestagent_qga.lexer` all that is odd, byte for
byte as QEMU does; where both can, they agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from guestagent_qga import lexer, tokens

TOKENS_MAX = 2 * 1024 * 1024
DEPTH_MAX = 1024

_SPACE = re.compile(r'[ \t\r\n]*')
#: What may stand inside of a string, without a quote.
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code != ord('"'))
_NO_MARKS = bytes(code for code in range(256) if code not in lexer.STRUCTURE)
#: How often a message that is not complete is read from its beginning.
_ATTEMPTS = 4


class Bad:
    """Stands for a message that is none; ``text`` says why."""

    __slots__ = ('text',)

    def __init__(self, text: str) -> None:
        self.text = text


class _OddError(Exception):
    """Python's scanner would take what QEMU does not, or would take it otherwise."""


class Stream:
    """Takes pieces of bytes, gives messages: values of JSON and :class:`Bad`."""

    def __init__(self) -> None:
        self._exact = _Exact()
        # A message that ends inside of a string, and how often it was read.
        self._held: list[bytes] = []
        self._held_size = 0
        self._attempts = 0

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that end in this piece."""
        if not self._exact.is_clean:
            return self._exact.feed(data)
        if self._held:
            if b'"' not in data and not data.translate(None, _PLAIN):
                self._hold(data)
                if self._held_size <= lexer.SIZE_MAX:
                    return []
                data = b''
            data = b''.join([*self._held, data])
            self._held.clear()
        return self._read(data)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)

    def _read(self, data: bytes) -> list[Any]:
        if not data.isascii() or b'\\u' in data or len(data) > lexer.SIZE_MAX:
            return self._exact.feed(data)
        text = data.decode('ascii')
        found: list[Any] = []
        at = 0
        while True:
            match = _SPACE.match(text, at)
            at = match.end() if match else at
            if at == len(text):
                return found
            try:
                value, end = _scan(text, at)
            except json.JSONDecodeError as error:
                # Then nothing before the end is odd.
                if error.msg.startswith('Unterminated string'):
                    self._attempts += 1
                    if self._attempts < _ATTEMPTS:
                        self._held_size = 0
                        self._hold(data[at:])
                        return found
                break
            except (_OddError, StopIteration, RecursionError):
                break
            self._attempts = 0
            found.append(value)
            at = end
        self._attempts = 0
        return found + self._exact.feed(data[at:])


def _scan(text: str, at: int) -> tuple[Any, int]:
    if text[at] != '{':
        raise _OddError
    value, end = _scan_once(text, at)
    if end - at > TOKENS_MAX:
        # Each token but one is such a character, or follows one.
        marks = text[at:end].encode().translate(None, _NO_MARKS)
        if len(marks) * 2 + 1 > TOKENS_MAX:
            raise _OddError
    return value, end


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _OddError
    return found


def _float(text: str) -> float:
    # To QEMU a number that begins with 0 has no exponent.
    if text.lstrip('-')[1] in 'eE':
        raise _OddError
    return float(text)


def _refuse(text: str) -> Any:
    raise _OddError


_decoder: Any = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=tokens.integer,
    parse_float=_float,
    parse_constant=_refuse,
)
_scan_once: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once


class _Exact:
    """Gathers tokens until braces and brackets balance."""

    def __init__(self) -> None:
        self._lexer = lexer.Lexer()
        self._reset()

    def _reset(self) -> None:
        self._tokens: list[lexer.Token] = []
        self._size = self._braces = self._brackets = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing has begun."""
        return not self._tokens and self._lexer.is_between

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that end in this piece."""
        found = []
        for kind, text in self._lexer.feed(data):
            problem = self._add(kind, text)
            if problem:
                found.append(Bad(problem))
                self._reset()
            elif self._is_complete():
                try:
                    found.append(tokens.parse(self._tokens))
                except tokens.ParseError as error:
                    found.append(Bad(f'JSON parse error, {error}'))
                self._reset()
        return found

    def _add(self, kind: str, text: bytes) -> str:
        """Take a token; return why the message cannot be taken, if it cannot."""
        if kind == lexer.ERROR:
            return f"JSON parse error, stray '{tokens.readable(text)}'"
        if kind in '{}':
            self._braces += 1 if kind == '{' else -1
        elif kind in '[]':
            self._brackets += 1 if kind == '[' else -1
        self._size += len(text)
        if kind == lexer.TOO_LARGE or self._size >= lexer.SIZE_MAX:
            return 'JSON token size limit exceeded'
        if len(self._tokens) >= TOKENS_MAX:
            return 'JSON token count limit exceeded'
        if self._braces + self._brackets > DEPTH_MAX:
            return 'JSON nesting depth limit exceeded'
        self._tokens.append((kind, text))
        return ''

    def _is_complete(self) -> bool:
        open_ = self._braces > 0 or self._brackets > 0
        return not open_ or self._braces < 0 or self._brackets < 0
