# SPDX-License-Identifier: Apache-2.0
"""JSON read as the programs of a bus write it: each call reads a few, and soon."""

import json
from typing import Any

_decoder = json.JSONDecoder()


def loads(text: str) -> Any:
    """Return the value in ``text``, as :func:`json.loads`.

    That one looks for white space around it, which takes as long as what is there.

    :raises ValueError, RecursionError: there is none.
    """
    if text[:1] == '{':
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    return _decoder.decode(text)
