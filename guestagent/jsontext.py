# SPDX-License-Identifier: Apache-2.0
"""JSON read and written as the programs of a bus do it: each call some, and soon."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

_decoder = json.JSONDecoder()

#: From so many characters on it is worth while to spare a text its second look.
_LARGE = 65536


class Verbatim(str):
    """A text that stands in JSON as it is, such as base64.

    It holds nothing but printable ASCII, and neither ``"`` nor a backslash; whoever
    makes one has seen to that, because :func:`written` does not look at it.
    """

    __slots__ = ()


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


def recognized(fields: dict[str, Any], text: bytes) -> dict[str, Any]:
    """Return what was read in ``text``, large texts in its ``result`` verbatim.

    Where nothing was escaped, nothing needs to be when it is written again.
    """
    result = fields.get('result')
    if type(result) is dict and len(text) > _LARGE and text.isascii():
        for name, value in result.items():
            if type(value) is str and len(value) > _LARGE and b'\\' not in text:
                result[name] = Verbatim(value)
    return fields


def written(fields: Mapping[str, Any], encode: Callable[[Any], str]) -> str:
    """Return what ``encode`` makes of ``fields``.

    A :class:`Verbatim` that is the ``result``, or in it, is put in at the end: to look
    at each of its characters, for each encoding, would take longer than all the rest.

    :raises TypeError, ValueError, RecursionError: they are not JSON.
    """
    result = fields.get('result')
    if type(result) is Verbatim:
        mark = _new_mark()
        return encode({**fields, 'result': mark}).replace(mark, result, 1)
    if type(result) is dict:
        for name, value in result.items():
            if type(value) is Verbatim:
                mark = _new_mark()
                marked = {**fields, 'result': {**result, name: mark}}
                return encode(marked).replace(mark, value, 1)
    return encode(fields)


def _new_mark() -> str:
    """Return a text that stands nowhere else."""
    return os.urandom(16).hex()
