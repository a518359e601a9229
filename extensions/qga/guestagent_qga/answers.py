# SPDX-License-Identifier: Apache-2.0
"""Make lines of answers.

A line is a list of pieces.  Long base64 text stays text, which is made bytes a part at
a time as it leaves: an answer may have 64 MiB, which nobody wants twice in memory.
"""

from __future__ import annotations

import json
from typing import Any

from guestagent_qga import errors, schema

#: Bytes, or ASCII text that becomes these.
Line = list[bytes | str]

#: A shorter text is copied with the rest.
LONG = 64 * 1024

#: Tells the client that what came before is not meant for it.
DELIMITER = b'\xff'


def success(command: schema.Command, result: Any, echo: dict[str, Any]) -> Line:
    """Return the line that says what a command returned.

    :raises RecursionError: its ``id`` is too deep.
    """
    value = {} if result is None else result
    if isinstance(value, dict):
        long = [name for name, part in value.items() if _is_long(part)]
        if long and _is_base64(command, long):
            return _with_holes(value, long, echo)
    line = json.dumps({'return': value, **echo}).encode()
    if command.name == 'guest-sync-delimited':
        return [DELIMITER, line, b'\n']
    return [line, b'\n']


def failure(error: errors.CommandError, echo: dict[str, Any]) -> Line:
    """Return the line that says why there is no result."""
    described = {'class': error.kind, 'desc': str(error)}
    return [json.dumps({'error': described, **echo}).encode(), b'\n']


def _is_long(part: Any) -> bool:
    return isinstance(part, str) and len(part) > LONG


def _is_base64(command: schema.Command, names: list[str]) -> bool:
    about = schema.types().get(command.returns)
    members = about.members if about is not None else ()
    base64 = {each.name for each in members if each.type == 'base64'}
    return base64.issuperset(names)


def _with_holes(value: dict[str, Any], long: list[str], echo: dict[str, Any]) -> Line:
    """Return a line in which long texts stand as they are: they hold no escapes."""
    rest = {name: part for name, part in value.items() if name not in long}
    pieces: Line = [b'{"return": {']
    for name in long:
        pieces += [f'"{name}": "'.encode(), value[name], b'"']
        pieces.append(b', ')
    tail = json.dumps(rest)[1:-1].encode()
    if tail:
        pieces.append(tail)
    else:
        pieces.pop()
    pieces.append(b'}')
    if echo:
        pieces.append(b', ' + json.dumps(echo)[1:-1].encode())
    return [*pieces, b'}\n']
