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
import threading
import weakref
from typing import Any

from guestagent import errors

BLOCK = 16

#: OpenSSL 3, and the one before it.
_LIBRARIES = ('libcrypto.so.3', 'libcrypto.so.1.1')


class Unopened(Exception):
    """A text that this key has not made, or that was damaged."""


class Cipher:
    """Encrypts and decrypts with the key of one instance; from any thread.

    :param key: as Trove hands it out, ``instance_rpc_encr_key``.
    :raises guestagent.errors.ConfigError: there is no OpenSSL.
    """

    def __init__(self, key: str) -> None:
        # An agent loads hashlib only where it is used.
        import hashlib

        digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        self._encrypt = _Blocks(digest.encode(), encrypt=True)
        self._decrypt = _Blocks(digest.encode(), encrypt=False)

    def encrypt(self, text: str) -> str:
        """Return ``text`` as Trove writes it."""
        data = text.encode()
        count = BLOCK - len(data) % BLOCK
        iv = os.urandom(BLOCK)
        made = iv + self._encrypt(iv, data + bytes((count,)) * count)
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
            plain = self._decrypt(data[:BLOCK], data[BLOCK:])
            count = plain[-1]
            if not 0 < count <= BLOCK or plain[-count:] != bytes((count,)) * count:
                raise Unopened
            return plain[:-count].decode()
        except (Unopened, binascii.Error, ValueError):
            raise Unopened('it is not sealed with the key of this instance') from None


class _Blocks:
    """Encrypts or decrypts whole blocks with one key; from any thread.

    To look the cipher up and to take the key takes longer than a message does, so it
    is done once.

    :raises guestagent.errors.ConfigError: there is no OpenSSL.
    """

    def __init__(self, key: bytes, encrypt: bool) -> None:
        library = _library()
        self._lock = threading.Lock()
        self._init, self._update = library.EVP_CipherInit_ex, library.EVP_CipherUpdate
        self._context = context = library.EVP_CIPHER_CTX_new()
        weakref.finalize(self, library.EVP_CIPHER_CTX_free, context).atexit = False
        kind = library.EVP_aes_256_cbc()
        done = self._init(context, kind, None, key, None, int(encrypt))
        _check(done and library.EVP_CIPHER_CTX_set_padding(context, 0))

    def __call__(self, iv: bytes, data: bytes) -> bytes:
        """Return what becomes of ``data``."""
        made = ctypes.create_string_buffer(len(data) + BLOCK)
        size = ctypes.c_int()
        with self._lock:
            # -1: in the direction that it has.
            done = self._init(self._context, None, None, None, iv, -1) and self._update(
                self._context, made, ctypes.byref(size), data, len(data)
            )
        _check(done and size.value == len(data))
        return made.raw[: size.value]


def _check(done: bool) -> None:
    if not done:
        raise errors.GuestError('OpenSSL does not do AES-256-CBC here')


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
