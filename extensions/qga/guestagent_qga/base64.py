# SPDX-License-Identifier: Apache-2.0
"""base64 as clients of qemu-ga send it."""

from __future__ import annotations

from guestagent_qga import errors

_ALPHABET = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'


#: What is asked for at a time, in bytes: three bytes make four characters, so that the
#: texts of such pieces can stand one behind the other.
PIECE = 3 * 1024 * 1024


class Text:
    """base64 in pieces, for it may be long and need not be in one place."""

    __slots__ = ('pieces',)

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __str__(self) -> str:
        return ''.join(self.pieces)


def clean(text: str) -> str:
    """Return base64 that every decoder takes, with the same bytes in it.

    Line breaks are allowed, and qemu-ga minds neither padding that lacks nor padding
    within; what is no whole byte is dropped.

    :raises guestagent_qga.errors.CommandError: other characters are in it.
    """
    data = text.encode('ascii', 'replace')
    body = data.rstrip(b'=')
    is_whole = len(data) % 4 == 0 and len(data) - len(body) <= 2
    if is_whole and not body.translate(None, _ALPHABET):
        return text
    body = data.translate(None, b'\r\n=')
    if body.translate(None, _ALPHABET):
        raise errors.CommandError('Base64 data contains invalid characters')
    if len(body) % 4 == 1:
        body = body[:-1]
    return (body + b'=' * (-len(body) % 4)).decode('ascii')


def size(text: str) -> int:
    """Return how many bytes are in base64 that is clean."""
    return len(text) // 4 * 3 - text[-2:].count('=')


def size_within(length: int) -> int:
    """Return how many bytes fit, with room for the rest of an answer."""
    return max(length - 512, 4) // 4 * 3
