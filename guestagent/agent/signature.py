# SPDX-License-Identifier: Apache-2.0
"""Arguments checked against annotations, before a command runs; no I/O.

What JSON can carry is what annotations may say: ``str``, ``int``, ``float`` (an int
will do), ``bool``, ``None``, ``list[...]``, ``dict[str, ...]``, ``Literal[...]``,
unions and ``Any``.  Another annotation is a mistake of the extension's author and is
refused when the extension is loaded.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

Check = Callable[[Any], bool]


class Argument:
    """One argument of a command.

    :ivar type: its annotation as people write it, for messages and documentation.
    """

    __slots__ = ('check', 'default', 'name', 'required', 'type')

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.required = default is inspect.Parameter.empty
        self.default = None if self.required else default
        self.check = _checker(annotation)
        self.type = describe(annotation)


class Signature:
    """The arguments that a command takes.

    :raises TypeError: the method lacks an annotation, has one that JSON cannot
        carry, or takes ``*args`` or ``**kwargs``.
    """

    __slots__ = ('_required', 'arguments', 'name', 'returns')

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        self.name = name
        hints = typing.get_type_hints(method)
        parameters = list(inspect.signature(method).parameters.values())
        self.arguments: dict[str, Argument] = {}
        for parameter in parameters[1:]:  # the first is the context
            if parameter.kind not in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                raise TypeError(f'{name}(): a command takes no *{parameter.name}')
            if parameter.name not in hints:
                raise TypeError(
                    f'{name}(): argument {parameter.name!r} has no annotation'
                )
            try:
                self.arguments[parameter.name] = Argument(
                    parameter.name, hints[parameter.name], parameter.default
                )
            except TypeError as error:
                raise TypeError(
                    f'{name}() argument {parameter.name!r}: {error}'
                ) from None
        if not parameters:
            raise TypeError(f'{name}(): a command takes a context first')
        self._required = [
            argument.name for argument in self.arguments.values() if argument.required
        ]
        self.returns = describe(hints.get('return', Any))

    def check(self, given: dict[str, Any]) -> None:
        """Check arguments by name.

        :raises TypeError: one is unknown (in Python's own words, as oslo.messaging
            answers), missing, or of a wrong type.
        """
        known = self.arguments
        for name, value in given.items():
            argument = known.get(name)
            if argument is None:
                raise TypeError(
                    f'{self.name}() got an unexpected keyword argument {name!r}'
                )
            if not argument.check(value):
                raise TypeError(
                    f'{self.name}() argument {name!r} must be {argument.type}, '
                    f'not {_kind(value)}'
                )
        missing = [name for name in self._required if name not in given]
        if missing:
            raise TypeError(_missing(self.name, missing))


def describe(annotation: Any) -> str:
    """Return an annotation as people write it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return 'None'
    if origin is Literal:
        return ' or '.join(repr(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return ' or '.join(describe(part) for part in parts)
    if origin is not None and parts:
        inner = ', '.join(describe(part) for part in parts)
        return f'{getattr(origin, "__name__", origin)}[{inner}]'
    return getattr(annotation, '__name__', None) or str(annotation)


def _checker(annotation: Any) -> Check:
    """Return a function that says whether a JSON value fits ``annotation``.

    :raises TypeError: JSON cannot carry such a type.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is object:
        return lambda value: True
    if annotation is None or annotation is type(None):
        return lambda value: value is None
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Literal:
        return lambda value: any(
            value == part and type(value) is type(part) for part in parts
        )
    if origin in (typing.Union, types.UnionType):
        checks = [_checker(part) for part in parts]
        return lambda value: any(check(value) for check in checks)
    name = getattr(origin or annotation, '__name__', '')
    if name in ('list', 'Sequence', 'Iterable'):
        return _list_checker(_checker(parts[0]) if parts else None)
    if name in ('dict', 'Mapping'):
        return _dict_checker(_checker(parts[1]) if parts else None)
    raise TypeError(f'JSON cannot carry {describe(annotation)}')


def _list_checker(item: Check | None) -> Check:
    if item is None:
        return lambda value: isinstance(value, list)
    return lambda value: isinstance(value, list) and all(map(item, value))


def _dict_checker(item: Check | None) -> Check:
    if item is None:
        return lambda value: isinstance(value, dict)
    return lambda value: isinstance(value, dict) and all(map(item, value.values()))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_PLAIN: dict[Any, Check] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: _is_int,
    float: lambda value: isinstance(value, float) or _is_int(value),
}


def _kind(value: Any) -> str:
    """Name the type of a value, never the value: it may be a secret."""
    if value is None:
        return 'None'
    if isinstance(value, list):
        kinds = sorted({type(item).__name__ for item in value})
        return f'list of {" and ".join(kinds)}' if kinds else 'an empty list'
    return type(value).__name__


def _missing(name: str, missing: list[str]) -> str:
    quoted = [repr(item) for item in missing]
    listed = (
        quoted[0]
        if len(quoted) == 1
        else (', '.join(quoted[:-1]) + ' and ' + quoted[-1])
    )
    plural = 's' if len(missing) > 1 else ''
    return f'{name}() missing {len(missing)} required argument{plural}: {listed}'
