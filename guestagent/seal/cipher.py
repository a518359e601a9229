# SPDX-License-Identifier: Apache-2.0
"""XChaCha20-Poly1305 (``draft-irtf-cfrg-xchacha-03``) by libsodium; no I/O.

It is PyNaCl's libsodium, but not called through PyNaCl's own functions: they write the
messages of all their checks before they know whether one fails, which takes longer than
to seal, and their package is another mebibyte of each idle agent.
"""

from __future__ import annotations

import importlib
from typing import Any

from guestagent import errors

KEY_SIZE = 32
NONCE_SIZE = 24
TAG_SIZE = 16


class Forged(Exception):
    """A text that was made with another key, nonce or associated data, or changed."""


class Cipher:
    """What encrypts and decrypts with one key; for all threads.

    :param key: 32 bytes.
    :raises guestagent.errors.ConfigError: PyNaCl is not installed.
    """

    __slots__ = ('_decrypt', '_encrypt', '_key', '_new', '_null', '_view')

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f'a key of {len(key)} bytes: it must be {KEY_SIZE}')
        sodium = _load()
        self._encrypt = sodium.lib.crypto_aead_xchacha20poly1305_ietf_encrypt
        self._decrypt = sodium.lib.crypto_aead_xchacha20poly1305_ietf_decrypt
        self._new, self._view = sodium.ffi.new, sodium.ffi.buffer
        self._null = sodium.ffi.NULL
        self._key = key

    def encrypt(self, plain: bytes, about: bytes, nonce: bytes) -> Any:
        """Return the text and its tag, as a buffer of bytes.

        :param about: the associated data.
        :param nonce: 24 bytes that never served another text.
        """
        _check(nonce)
        null, size = self._null, len(plain)
        made = self._new('unsigned char[]', size + TAG_SIZE)
        failed = self._encrypt(
            made, null, plain, size, about, len(about), null, nonce, self._key
        )
        if failed:
            raise RuntimeError(f'libsodium does not encrypt {size} bytes')
        return self._view(made)

    def decrypt(self, text: bytes, about: bytes, nonce: bytes) -> bytes:
        """Return what was encrypted.

        :raises Forged: it was made otherwise, or is too short.
        """
        _check(nonce)
        null, size = self._null, len(text)
        if size < TAG_SIZE:
            raise Forged
        # One more, for there is no empty buffer.
        made = self._new('unsigned char[]', size - TAG_SIZE + 1)
        failed = self._decrypt(
            made, null, null, text, size, about, len(about), nonce, self._key
        )
        if failed:
            raise Forged
        opened: bytes = self._view(made, size - TAG_SIZE)[:]
        return opened


def _check(nonce: bytes) -> None:
    """Refuse what libsodium would read beyond the end of."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f'a nonce of {len(nonce)} bytes: it must be {NONCE_SIZE}')


def _load() -> Any:
    """Return libsodium, ready; only a program that has a key pays for it."""
    try:
        sodium = importlib.import_module('nacl._sodium')
    except ModuleNotFoundError as error:
        raise missing(error) from None
    if sodium.lib.sodium_init() < 0:
        raise errors.ConfigError('libsodium does not start: no key can be used')
    return sodium


def missing(error: ModuleNotFoundError) -> errors.ConfigError:
    """Return what is raised where there is no PyNaCl."""
    return errors.ConfigError(
        f'keys need PyNaCl, and there is no {error.name}: install guestagent[seal]'
    )
