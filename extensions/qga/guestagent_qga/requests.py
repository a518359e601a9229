# SPDX-License-Identifier: Apache-2.0
"""What a message asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

from guestagent_qga import errors

_MEMBERS = ('execute', 'arguments', 'id')


class Request(NamedTuple):
    """A request that is in form.

    :ivar echo: ``{'id': ...}`` if the client gave one, which its answer must have too.
    """

    name: str
    arguments: dict[str, Any]
    echo: dict[str, Any]


def echo(message: Any) -> dict[str, Any]:
    """Return what any answer to a message must have."""
    if isinstance(message, dict) and 'id' in message:
        return {'id': message['id']}
    return {}


def read(message: Any) -> Request:
    """Return the request in a message.

    :raises guestagent_qga.errors.CommandError: there is none.
    """
    if not isinstance(message, dict):
        raise errors.CommandError('QMP input must be a JSON object')
    for name in message:
        if name not in _MEMBERS:
            raise errors.CommandError(f"QMP input member '{name}' is unexpected")
    if not isinstance(message.get('execute', ''), str):
        raise errors.CommandError("QMP input member 'execute' must be a string")
    arguments = message.get('arguments', {})
    if not isinstance(arguments, dict):
        raise errors.CommandError("QMP input member 'arguments' must be an object")
    if 'execute' not in message:
        raise errors.CommandError("QMP input lacks member 'execute'")
    return Request(message['execute'], arguments, echo(message))
