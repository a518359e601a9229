# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from guestagent.agent.isolation import hello, stdio
from tests.fuzz import registry

_HELLO = {
    'type': 'hello',
    'protocol': 1,
    'version': '1.0',
    'doc': 'x',
    'needs_root': '',
    'commands': {
        'read': {
            'mutates': False,
            'timeout': None,
            'arguments': [
                {'name': 'a', 'type': {'union': ['str', {'list': 'int'}]}},
                {'name': 'b', 'type': {'literal': ['x', 1]}, 'default': 1},
            ],
            'returns': {'dict': 'any'},
        }
    },
    'periodics': {'watch': {'spacing': 60, 'option': 'period', 'jitter': 0.1}},
    'options': {'period': {'default': '60', 'secret': True}},
}


@registry.target(
    stdio.encode(_HELLO),
    b'{"type":"error","id":1,"error":"KeyError","message":"x"}\n{"type":"x"}\n',
    stdio.encode({**_HELLO, 'commands': {'x': {'mutates': True, 'timeout': 1e400}}}),
    b'{"type":"error","error":"ExceptionGroup"}\n{"type":"error","error":"\\u0000"}\n',
)
def stdio_lines(data: bytes) -> None:
    """What a process writes is messages, or breaks the protocol; so is its hello."""
    with contextlib.suppress(stdio.Broken):
        for message in _messages(data):
            error = stdio.error(message)
            assert str(error) == str(message.get('message', ''))
            with contextlib.suppress(stdio.Broken):
                hello.read(message)


def _messages(data: bytes) -> Iterator[stdio.Message]:
    lines, cut = stdio.Lines(1000), stdio.Lines(1000)
    middle = len(data) // 2
    yield from lines.feed(data)
    for half in (data[:middle], data[middle:]):
        for message in cut.feed(half):
            assert isinstance(message['type'], str)
