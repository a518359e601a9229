# SPDX-License-Identifier: Apache-2.0
"""SHA-256 and BLAKE2b by the interpreter's own code.

:mod:`hashlib` takes OpenSSL's wherever that is there, and its library is more than
three mebibytes of each idle agent.
"""

import importlib
from typing import Any


def _find(function: str, *modules: str) -> Any:
    for name in (*modules, 'hashlib'):
        try:
            return getattr(importlib.import_module(name), function)
        except ImportError:
            continue
    raise ImportError(f'this Python has no {function}')


# What the standard library itself stands on, by its names in Python 3.12 and before.
_sha256 = _find('sha256', '_sha2', '_sha256')
_blake2b = _find('blake2b', '_blake2')


def sha256(data: bytes) -> str:
    """Return the digest of ``data``: 64 hexadecimal digits."""
    return str(_sha256(data).hexdigest())


def blake2b(data: bytes, size: int, key: bytes, person: bytes) -> bytes:
    """Return the keyed digest of ``data``, ``size`` bytes.

    :param person: at most 16 bytes that tell this use of the key from others.
    """
    return bytes(_blake2b(data, digest_size=size, key=key, person=person).digest())
