# SPDX-License-Identifier: Apache-2.0
"""Cut a stream of bytes into tokens as QEMU's lexer of JSON does; no I/O.

Where the bytes are cut into pieces makes no difference.  After what is no token, all is
skipped up to a control character, 0xFE, 0xFF, or one of ``[]{}:,``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: The most that a token may have, in bytes; the same for a message.
SIZE_MAX = 64 * 1024 * 1024

STRUCTURE = b'{}[]:,'
#: The kinds of tokens beside those of :data:`STRUCTURE`, which are their own.
STRING, INTEGER, FLOAT, KEYWORD, ERROR, TOO_LARGE = (
    'string',
    'integer',
    'float',
    'keyword',
    'error',
    'too large',
)

Token = tuple[str, bytes]

_SPACE = re.compile(rb'[ \t\r\n]*')
_SKIPPED = re.compile(rb'[^\x00-\x1f\xfe\xff{}\[\]:,]*')
_WORD = re.compile(rb'[a-z]*')
_INSIDE = {
    quote: re.compile(
        rb'[^%b\\\x00-\x1f\xfe\xff]*(?:\\[\x20-\xfd][^%b\\\x00-\x1f\xfe\xff]*)*'
        % (quote, quote)
    )
    for quote in (b'"', b"'")
}

# Of a number: what may follow in each state, and what kind of token may end there.
_DIGITS = b'0123456789'
_NEXT: dict[str, tuple[tuple[bytes, str], ...]] = {
    'sign': ((b'0', 'zero'), (b'123456789', 'digits')),
    'zero': ((b'.', 'point'), (_DIGITS, ERROR)),
    'digits': ((_DIGITS, 'digits'), (b'.', 'point'), (b'eE', 'e')),
    'point': ((_DIGITS, 'fraction'),),
    'fraction': ((_DIGITS, 'fraction'), (b'eE', 'e')),
    'e': ((b'+-', 'e sign'), (_DIGITS, 'exponent')),
    'e sign': ((_DIGITS, 'exponent'),),
    'exponent': ((_DIGITS, 'exponent'),),
}
_ENDS = {'zero': INTEGER, 'digits': INTEGER, 'fraction': FLOAT, 'exponent': FLOAT}


class Lexer:
    """Takes pieces of bytes, gives tokens."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        # What the present token is: '' none, 'skip', 'word', 'string', or a state of
        # _NEXT.
        self._state = ''
        self._quote = b''
        self._escaped = False

    @property
    def is_between(self) -> bool:
        """Whether no token has begun."""
        return not self._state

    def feed(self, data: bytes) -> Iterator[Token]:
        """Return the tokens that end in this piece."""
        at = 0
        while at < len(data):
            if not self._state:
                found, at = self._begin(data, at)
            elif self._state == 'skip':
                match = _SKIPPED.match(data, at)
                at = match.end() if match else at
                found = None
                if at < len(data):
                    self._state = ''
            elif self._state == 'string':
                found, at = self._string(data, at)
            elif self._state == 'word':
                found, at = self._word(data, at)
            else:
                found, at = self._number(data, at)
            if found is not None:
                yield found
            if self._size > SIZE_MAX:
                yield self._end(TOO_LARGE)
                self._state = 'skip'

    def _begin(self, data: bytes, at: int) -> tuple[Token | None, int]:
        match = _SPACE.match(data, at)
        at = match.end() if match else at
        first = data[at : at + 1]
        if not first:
            return None, at
        if first in STRUCTURE:
            return (first.decode(), first), at + 1
        self._keep(first)
        if first in b'"\'':
            self._state, self._quote = 'string', first
        elif first in b'abcdefghijklmnopqrstuvwxyz':
            self._state = 'word'
        elif first == b'-':
            self._state = 'sign'
        elif first in _DIGITS:
            self._state = 'zero' if first == b'0' else 'digits'
        else:
            return self._end(ERROR), at + 1
        return None, at + 1

    def _string(self, data: bytes, at: int) -> tuple[Token | None, int]:
        if self._escaped:
            self._escaped = False
            if not 0x20 <= data[at] <= 0xFD:
                self._keep(data[at : at + 1])
                return self._end(ERROR), at + 1
            self._keep(data[at : at + 1])
            at += 1
        match = _INSIDE[self._quote].match(data, at)
        end = match.end() if match else at
        stop = data[end : end + 1]
        self._keep(data[at : end + 1])
        if not stop:
            return None, end
        if stop == b'\\':
            self._escaped = True
            return None, end + 1
        return self._end(STRING if stop == self._quote else ERROR), end + 1

    def _word(self, data: bytes, at: int) -> tuple[Token | None, int]:
        match = _WORD.match(data, at)
        end = match.end() if match else at
        self._keep(data[at:end])
        return (self._end(KEYWORD) if end < len(data) else None), end

    def _number(self, data: bytes, at: int) -> tuple[Token | None, int]:
        """Take one byte of a number, or end it before."""
        byte = data[at : at + 1]
        for bytes_, state in _NEXT[self._state]:
            if byte in bytes_:
                self._keep(byte)
                if state == ERROR:
                    return self._end(ERROR), at + 1
                self._state = state
                return None, at + 1
        if self._state in _ENDS:
            return self._end(_ENDS[self._state]), at
        self._keep(byte)
        return self._end(ERROR), at + 1

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def _end(self, kind: str) -> Token:
        text = b''.join(self._parts)
        self._parts.clear()
        self._size = 0
        self._state = 'skip' if kind == ERROR else ''
        self._escaped = False
        return kind, text
