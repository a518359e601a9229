# SPDX-License-Identifier: Apache-2.0
"""Hold arguments against the table, with the words that qemu-ga has for what is wrong.

Members are looked at in the order of the table; then comes what is too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guestagent_qga import errors, schema

_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


def check(command: schema.Command, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as they are meant; one that is not given is not there.

    :raises guestagent_qga.errors.CommandError: they do not fit.
    """
    if not command.arguments and not arguments:
        return arguments
    return _structure(command.arguments, arguments, '')


def _structure(
    members: Sequence[schema.Member], given: dict[str, Any], path: str
) -> dict[str, Any]:
    found = {}
    for member in members:
        if member.name in given:
            name = path + member.name
            found[member.name] = _value(member.type, given[member.name], name)
        elif not member.optional:
            raise errors.CommandError(f"Parameter '{path}{member.name}' is missing")
    for name in given:
        if name not in found:
            raise errors.CommandError(f"Parameter '{path}{name}' is unexpected")
    return found


def _value(kind: str, value: Any, path: str) -> Any:
    if kind.startswith('['):
        if not isinstance(value, list):
            raise _wrong(path, 'array')
        inner = kind[1:-1]
        return [_value(inner, each, f'{path}[{i}]') for i, each in enumerate(value)]
    if kind in schema.SIMPLE:
        return _simple(kind, value, path)
    about = schema.types()[kind]
    if about.values:
        if _simple('str', value, path) not in about.values:
            text = f"Parameter '{path}' does not accept value '{value}'"
            raise errors.CommandError(text)
        return value
    if about.choices:
        return _choice(about, value, path)
    if not isinstance(value, dict):
        raise _wrong(path, 'object')
    return _structure(about.members, value, f'{path}.')


def _choice(about: schema.Type, value: Any, path: str) -> Any:
    """Choose by the kind of JSON value that it is."""
    for kind in about.choices:
        if kind == 'bool':
            fits = isinstance(value, bool)
        elif kind == 'int':
            # Any number chooses it; that it is none of these is said then.
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        else:
            fits = isinstance(value, str)
        if fits:
            return _value(kind, value, path)
    raise _wrong(path, about.name)


def _simple(kind: str, value: Any, path: str) -> Any:
    if kind in ('str', 'base64'):
        if not isinstance(value, str):
            raise _wrong(path, 'string')
    elif kind == 'bool':
        if not isinstance(value, bool):
            raise _wrong(path, 'boolean')
    elif not isinstance(value, int) or isinstance(value, bool):
        if kind == 'int':
            raise _wrong(path, 'integer')
        raise errors.CommandError(f"Parameter '{path}' expects {kind}")
    elif kind == 'int' and not _INT_MIN <= value <= _INT_MAX:
        raise _wrong(path, 'integer')
    elif kind == 'uint64':
        # A negative number is the one that has the same bits.
        return value & _UINT_MAX
    return value


def _wrong(path: str, expected: str) -> errors.CommandError:
    return errors.CommandError(
        f"Invalid parameter type for '{path}', expected: {expected}"
    )
