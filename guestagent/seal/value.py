# SPDX-License-Identifier: Apache-2.0
"""The sealed value: XChaCha20-Poly1305 with a key id in front; no I/O.

::

    version (1 byte: 1) | key id (8) | nonce (24) | ciphertext | tag (16)

The version, the key id, the purpose and what the value is bound to are associated
data: none of them can be changed.
"""

from __future__ import annotations

import binascii
import os
from typing import Any, NamedTuple

from guestagent import digest, jsontext
from guestagent.seal import cipher

VERSION = b'\x01'
ID_SIZE = 8
KEY_SIZE = cipher.KEY_SIZE

_NONCE = 1 + ID_SIZE
_TEXT = _NONCE + cipher.NONCE_SIZE
_PERSON = b'guestagent nonce'

COMMAND, REPLY, REPORT = b'command', b'reply', b'report'


class Broken(Exception):
    """A value that does not open; says why, for the log of who tried."""


class Sealed(NamedTuple):
    """A value, taken apart but not opened."""

    key_id: bytes
    nonce: bytes
    text: bytes


class Way:
    """One direction of a key: what seals and opens.

    :param secret: 64 bytes: the key of the cipher, and the key of the nonces.
    :raises guestagent.errors.ConfigError: PyNaCl is not installed.
    """

    __slots__ = ('_cipher', '_head', '_nonces', 'id')

    def __init__(self, key_id: bytes, secret: bytes) -> None:
        self.id = key_id
        self._head = VERSION + key_id
        self._cipher = cipher.Cipher(secret[:KEY_SIZE])
        self._nonces = secret[KEY_SIZE:]

    def seal(self, purpose: bytes, bound: bytes, plain: bytes) -> bytes:
        """Return ``plain`` sealed for a purpose, and bound to ``bound``."""
        about = b'%b%b\0%b' % (self._head, purpose, bound)
        # A machine that goes on twice from one snapshot may draw the same random
        # bytes twice, and a nonce must never serve two texts: so the text is in it.
        drawn = b'%b%b%b' % (os.urandom(cipher.NONCE_SIZE), about, plain)
        nonce = digest.blake2b(drawn, cipher.NONCE_SIZE, self._nonces, _PERSON)
        text = self._cipher.encrypt(plain, about, nonce)
        return b'%b%b%b' % (self._head, nonce, text)

    def open(self, purpose: bytes, bound: bytes, sealed: Sealed) -> bytes:
        """Return what is inside.

        :raises Broken: it was sealed with another key, for another purpose, bound to
            something else, or was changed.
        """
        about = b'%b%b\0%b' % (self._head, purpose, bound)
        try:
            return self._cipher.decrypt(sealed.text, about, sealed.nonce)
        except cipher.Forged:
            raise Broken('it does not open') from None


def load() -> Any:
    """Return PyNaCl's bindings; only a program that enrols guests pays for them.

    :raises guestagent.errors.ConfigError: PyNaCl is not installed.
    """
    try:
        from nacl import bindings
    except ModuleNotFoundError as error:
        raise cipher.missing(error) from None
    return bindings


def encode(sealed: bytes) -> str:
    """Return a sealed value as the text that travels."""
    text = binascii.b2a_base64(sealed, newline=False).decode('ascii')
    return jsontext.Verbatim(text)


def take_apart(text: Any) -> Sealed:
    """Return the parts of what has travelled.

    :raises Broken: it is no sealed value.
    """
    if not isinstance(text, str):
        raise Broken('it is not text')
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # so is binascii.Error, and what is not ASCII
        raise Broken('it is not base64') from None
    if len(data) < _TEXT + cipher.TAG_SIZE:
        raise Broken('it is too short')
    if data[:1] != VERSION:
        raise Broken(f'its version is {data[0]}, and this program knows 1')
    return Sealed(data[1:_NONCE], data[_NONCE:_TEXT], data[_TEXT:])


def nonce_of(sealed: bytes) -> bytes:
    """Return the nonce of a value that was just sealed."""
    return sealed[_NONCE:_TEXT]
