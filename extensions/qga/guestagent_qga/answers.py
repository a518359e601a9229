# SPDX-License-Identifier: Apache-2.0
"""Make lines of answers.

A line is a list of pieces.  Long base64 text stays text, which is made bytes a part at
a time as it leaves: an answer may have 64 MiB, which nobody wants twice in memory.
"""

from __future__ import annotations

import json
from typing import Any

from guestagent_qga import base64, errors, schema

#: Bytes, or ASCII text that becomes these.
Line = list[bytes | str]

#: Tells the client that what came before is not meant for it.
DELIMITER = b'\xff'


def success(command: schema.Command, result: Any, echo: dict[str, Any]) -> Line:
    """Return the line that says what a command returned.

    :raises RecursionError: its ``id`` is too deep.
    """
    value = {} if result is None else result
    if isinstance(value, dict):
        texts = {
            name: part for name, part in value.items() if isinstance(part, base64.Text)
        }
        if texts:
            return _with_texts(value, texts, echo)
    line = json.dumps({'return': value, **echo}).encode()
    if command.name == 'guest-sync-delimited':
        return [DELIMITER, line, b'\n']
    return [line, b'\n']


def failure(error: errors.CommandError, echo: dict[str, Any]) -> Line:
    """Return the line that says why there is no result."""
    described = {'class': error.kind, 'desc': str(error)}
    return [json.dumps({'error': described, **echo}).encode(), b'\n']


def _with_texts(
    value: dict[str, Any], texts: dict[str, base64.Text], echo: dict[str, Any]
) -> Line:
    """Return a line in which texts stand as they are: nothing in them is escaped."""
    rest = {name: part for name, part in value.items() if name not in texts}
    tail = f'{json.dumps(rest)[1:]}{_members(echo)}}}\n'.encode()
    pieces: Line = [b'{"return": {']
    for name, text in texts.items():
        pieces.append(f'"{name}": "'.encode())
        pieces += text.pieces
        pieces.append(b'", ')
    return [*pieces, tail]


def _members(echo: dict[str, Any]) -> str:
    return f', {json.dumps(echo)[1:-1]}' if echo else ''
