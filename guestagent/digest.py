# SPDX-License-Identifier: Apache-2.0
"""SHA-256 by the interpreter's own code.

:mod:`hashlib` takes OpenSSL's wherever that is there, and its library is more than
three mebibytes of each idle agent.
"""

import importlib
from typing import Any


def _find() -> Any:
    # What the standard library falls back on, by its names in Python 3.12 and before.
    for name in ('_sha2', '_sha256', 'hashlib'):
        try:
            return importlib.import_module(name).sha256
        except ImportError:
            continue
    raise ImportError('this Python has no SHA-256')


_sha256 = _find()


def sha256(data: bytes) -> str:
    """Return the digest of ``data``: 64 hexadecimal digits."""
    return str(_sha256(data).hexdigest())
