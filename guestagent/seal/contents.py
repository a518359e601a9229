# SPDX-License-Identifier: Apache-2.0
"""What stands inside of sealed commands and replies, as JSON; no I/O.

Times are milliseconds since 1970: whole numbers, which every language compares alike.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from guestagent import errors, jsontext
from guestagent.bus import topics
from guestagent.seal import value

_LAST = 2**53 - 1
_dumps = json.JSONEncoder(separators=(',', ':')).encode


class Command(NamedTuple):
    """A command; ``namespace`` to ``args`` are unchecked, as in a plain request.

    :ivar stamp: when it was sealed, by the sender's clock.
    :ivar expiry: after which it must not be accepted.
    :ivar waits: whether the sender waits for a reply: it hears of a refusal, and
        seals anew.
    :ivar epoch: what the guest has told of its own; ``''``: nothing.
    """

    caller: str
    instance: str
    namespace: Any
    method: Any
    version: Any
    args: Any
    context: dict[str, Any]
    id: str
    stamp: int
    expiry: int
    waits: bool
    epoch: str


def write_command(command: Command) -> bytes:
    """Return the inside of a command.

    :raises guestagent.errors.InvalidArgument: JSON cannot carry it.
    """
    try:
        return _dumps(command._asdict()).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.InvalidArgument(
            f'the command cannot be sent as JSON: {error}'
        ) from None


def read_command(plain: bytes) -> Command:
    """Return the command that an opened value holds.

    :raises guestagent.seal.value.Broken: it holds none.
    """
    fields = read(plain)
    try:
        found = Command._make(_all(fields))
    except KeyError as error:
        raise value.Broken(f'it has no {error.args[0]}') from None
    if tuple(map(type, _checked(fields))) != _KINDS:
        raise value.Broken(_wrong_kind(fields))
    if not topics.is_command_id(found.id):
        raise value.Broken('its id is not 1 to 64 of A-Z a-z 0-9 _ . -')
    if not 0 <= found.stamp <= found.expiry <= _LAST:
        raise value.Broken('its stamp or its expiry is no time')
    return found


def write_result(command_id: str, result: Any) -> bytes:
    """Return the inside of a reply with a result.

    :raises TypeError, ValueError, RecursionError: it is not JSON.
    """
    fields = {'id': command_id, 'result': result}
    return jsontext.written(fields, _dumps).encode()


def write_failure(command_id: str, failure: Mapping[str, Any]) -> bytes:
    """Return the inside of a reply with a failure.

    :param failure: of :func:`guestagent.bus.envelope.describe`.
    """
    return _dumps({'id': command_id, 'failure': failure}).encode()


def read_reply(plain: bytes, command_id: str) -> tuple[Any, dict[str, Any] | None]:
    """Return the result, and the failure if it is one.

    :raises guestagent.seal.value.Broken: it is no reply to this command.
    """
    fields = read(plain)
    if fields.get('id') != command_id:
        raise value.Broken('it is the reply to another command')
    failure = fields.get('failure')
    if failure is None:
        return fields.get('result'), None
    if not isinstance(failure, dict):
        raise value.Broken('its failure is no object')
    return None, failure


def read(plain: bytes) -> dict[str, Any]:
    """Return the object in an opened value.

    :raises guestagent.seal.value.Broken: there is none.
    """
    try:
        fields = jsontext.loads(plain.decode())
    except (ValueError, RecursionError):
        raise value.Broken('it holds no JSON') from None
    if not isinstance(fields, dict):
        raise value.Broken('it holds no object')
    return fields


def write(fields: Mapping[str, Any]) -> bytes:
    """Return an object as what is sealed."""
    return _dumps(fields).encode()


_TYPES: dict[str, type] = {
    'caller': str,
    'instance': str,
    'context': dict,
    'id': str,
    'stamp': int,
    'expiry': int,
    'waits': bool,
    'epoch': str,
}
_KINDS = tuple(_TYPES.values())
_checked = operator.itemgetter(*_TYPES)
_all = operator.itemgetter(*Command._fields)


def _wrong_kind(fields: Mapping[str, Any]) -> str:
    """Return which field is not what it must be."""
    for name, kind in _TYPES.items():
        if type(fields[name]) is not kind:
            return f'its {name} is no {kind.__name__}'
    return ''
