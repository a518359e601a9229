# SPDX-License-Identifier: Apache-2.0
"""HKDF with SHA-256 (RFC 5869), without OpenSSL: see :mod:`guestagent.digest`."""

from __future__ import annotations

from guestagent import digest

_BLOCK = 64
_SIZE = 32
_INNER = bytes(0x36 ^ value for value in range(256))
_OUTER = bytes(0x5C ^ value for value in range(256))


def derive(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """Return ``size`` bytes (at most 8,160) that tell nothing of ``secret``."""
    if not 0 < size <= 255 * _SIZE:
        raise ValueError(f'{size} bytes: HKDF makes 1 to {255 * _SIZE}')
    extracted = _hmac(salt or bytes(_SIZE), secret)
    made = block = b''
    number = 0
    while len(made) < size:
        number += 1
        block = _hmac(extracted, block + info + bytes((number,)))
        made += block
    return made[:size]


def _hmac(key: bytes, data: bytes) -> bytes:
    """Return the HMAC of RFC 2104; the standard library's loads OpenSSL."""
    if len(key) > _BLOCK:
        key = _sha256(key)
    key = key.ljust(_BLOCK, b'\0')
    return _sha256(key.translate(_OUTER) + _sha256(key.translate(_INNER) + data))


def _sha256(data: bytes) -> bytes:
    return bytes.fromhex(digest.sha256(data))
