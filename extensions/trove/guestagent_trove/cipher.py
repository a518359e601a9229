# SPDX-License-Identifier: Apache-2.0
"""Trove's cipher: AES-256 in CBC mode, by the OpenSSL that Python has with it.

Text is ``base64(IV || AES-CBC(md5hex(key), padded))``.  There is no MAC: who changes
such a text is not found out by this module, only by what it then decrypts to.  Called
through ctypes because a library for it would take five megabytes more of an idle agent.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import functools
import os
from typing import Any

from guestagent import errors

BLOCK = 16

#: OpenSSL 3, and the one before it.
_LIBRARIES = ('libcrypto.so.3', 'libcrypto.so.1.1')


class Unopened(Exception):
    """A text that this key has not made, or that was damaged."""


class Cipher:
    """Encrypts and decrypts with the key of one instance.

    :param key: as Trove hands it out, ``instance_rpc_encr_key``.
    :raises guestagent.errors.ConfigError: there is no OpenSSL.
    """

    def __init__(self, key: str) -> None:
        # An agent loads hashlib only where it is used.
        import hashlib

        digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        self._key = digest.encode()
        _library()

    def encrypt(self, text: str) -> str:
        """Return ``text`` as Trove writes it."""
        data = text.encode()
        count = BLOCK - len(data) % BLOCK
        iv = os.urandom(BLOCK)
        made = iv + _crypt(self._key, iv, data + bytes((count,)) * count, True)
        return base64.b64encode(made).decode()

    def decrypt(self, text: object) -> str:
        """Return what :meth:`encrypt`, or Trove, made ``text`` of.

        :raises Unopened: nobody who has the key has made it; always the same words.
        """
        try:
            if not isinstance(text, str):
                raise Unopened
            data = base64.b64decode(text, validate=True)
            if len(data) < 2 * BLOCK or len(data) % BLOCK:
                raise Unopened
            plain = _crypt(self._key, data[:BLOCK], data[BLOCK:], False)
            count = plain[-1]
            if not 0 < count <= BLOCK or plain[-count:] != bytes((count,)) * count:
                raise Unopened
            return plain[:-count].decode()
        except (Unopened, binascii.Error, ValueError):
            raise Unopened('it is not sealed with the key of this instance') from None


@functools.cache
def _library() -> Any:
    """Return libcrypto with the types of what is called.

    :raises guestagent.errors.ConfigError: it is not there.
    """
    for name in _LIBRARIES:
        try:
            # Keeps the interpreter's lock: to give it away and get it back takes
            # longer than what is done meanwhile.
            library = ctypes.PyDLL(name)
        except OSError:
            continue
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        library.EVP_aes_256_cbc.restype = pointer
        library.EVP_CIPHER_CTX_new.restype = pointer
        library.EVP_CIPHER_CTX_free.argtypes = [pointer]
        library.EVP_CIPHER_CTX_set_padding.argtypes = [pointer, number]
        library.EVP_CipherInit_ex.argtypes = [
            pointer, pointer, pointer, text, text, number
        ]  # fmt: skip
        library.EVP_CipherUpdate.argtypes = [
            pointer, text, ctypes.POINTER(number), text, number
        ]  # fmt: skip
        return library
    raise errors.ConfigError(
        f'Trove sends encrypted requests, and none of {", ".join(_LIBRARIES)} can be '
        f'loaded: install OpenSSL'
    )


def _crypt(key: bytes, iv: bytes, data: bytes, encrypt: bool) -> bytes:
    """Encrypt or decrypt whole blocks."""
    library = _library()
    context = library.EVP_CIPHER_CTX_new()
    try:
        made = ctypes.create_string_buffer(len(data) + BLOCK)
        size = ctypes.c_int()
        kind = library.EVP_aes_256_cbc()
        done = (
            library.EVP_CipherInit_ex(context, kind, None, key, iv, int(encrypt))
            and library.EVP_CIPHER_CTX_set_padding(context, 0)
            and library.EVP_CipherUpdate(
                context, made, ctypes.byref(size), data, len(data)
            )
        )
        if not done or size.value != len(data):
            raise errors.GuestError('OpenSSL does not do AES-256-CBC here')
        return made.raw[: size.value]
    finally:
        library.EVP_CIPHER_CTX_free(context)
