# SPDX-License-Identifier: Apache-2.0
"""Bad input, made of good: cut, changed, repeated, and as bad JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

#: What somebody may write where something else belongs.
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1e308, float('inf'), float('nan'), 10**400, 2**63),
    *('', '\0', '\ud800', '\u2028', '..', '/', 'x' * 300, '1.0.0.0', 'reply_\ud800'),
    *([], {}, [[]], {'': None}, [None] * 50, {'type': {}}, 'reply_', '9' * 5000),
]
_PIECES = [
    *(b'\xff', b'\0', b'\n', b'"', b'{', b'[' * 3000, b'\\ud800', b'1e400', b'NaN'),
    *(b'\xff00000010', b'\xffrec', b'=', b'*', b'**', b'!', b',', b'9' * 5000),
]


def hostile(seeds: Sequence[bytes], number: int, count: int) -> Iterator[bytes]:
    """Yield inputs that are nearly as one of the seeds; the same for one number."""
    chance = random.Random(number)
    for _ in range(count):
        data = chance.choice(seeds)
        if chance.random() < 0.4:
            data = _rewritten(data, chance)
        for _ in range(chance.choice((0, 1, 1, 2, 5))):
            data = _edited(data, chance)
        yield data


def _edited(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    piece = chance.choice(_PIECES)
    if chance.random() < 0.5:
        piece = chance.randbytes(chance.randrange(1, 8))
    kind = chance.randrange(4)
    if kind == 0:
        return data[:at] + piece + data[at:]
    if kind == 1:
        return data[:at] + piece + data[at + len(piece) :]
    if kind == 2:
        return data[:at] + data[at + len(piece) :]
    return data[:at] + data[max(0, at - 40) :]


def _rewritten(data: bytes, chance: random.Random) -> bytes:
    """Put a value somewhere into what is JSON, or JSON in JSON."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return data
    inner = found.get('oslo.message') if isinstance(found, dict) else None
    if isinstance(inner, str) and chance.random() < 0.9:
        inside = _rewritten(inner.encode(), chance).decode()
        return json.dumps({**found, 'oslo.message': inside}).encode()
    places = list(_places(found))
    if not places:
        return json.dumps(chance.choice(VALUES)).encode()
    holder, key = chance.choice(places)
    if chance.random() < 0.8:
        holder[key] = chance.choice(VALUES)
    else:
        del holder[key]
    return json.dumps(found).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield value, key
        yield from _places(inner)
