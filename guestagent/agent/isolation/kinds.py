# SPDX-License-Identifier: Apache-2.0
"""The types of arguments as JSON carries them (doc/stdio.rst), and as annotations."""

from __future__ import annotations

import functools
import operator
import types
import typing
from typing import Any, Literal

from guestagent.agent.isolation import stdio

_NAMES: dict[str, Any] = {
    'any': Any,
    'str': str,
    'int': int,
    'float': float,
    'bool': bool,
    'none': type(None),
    'list': list,
    'dict': dict,
}

#: How deep types may stand in one another.
_DEPTH = 16


def describe(annotation: Any) -> Any:
    """Return an annotation as JSON carries it.

    :raises TypeError: there is no word for it.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is object:
        return 'any'
    if annotation is None:
        return 'none'
    for name, known in _NAMES.items():
        if annotation is known:
            return name
    if origin is Literal:
        return {'literal': list(parts)}
    if origin in (typing.Union, types.UnionType):
        return {'union': [describe(part) for part in parts]}
    name = getattr(origin or annotation, '__name__', '')
    if name in ('list', 'Sequence', 'Iterable'):
        return {'list': describe(parts[0])} if parts else 'list'
    if name in ('dict', 'Mapping'):
        return {'dict': describe(parts[1])} if parts else 'dict'
    raise TypeError(f'JSON cannot carry {annotation}')


def read(described: Any, depth: int = _DEPTH) -> Any:
    """Return the annotation that was described.

    :raises guestagent.agent.isolation.stdio.Broken: it is no type.
    """
    if isinstance(described, str) and described in _NAMES:
        return _NAMES[described]
    if not depth:
        raise stdio.Broken('the type of an argument has too many types in one another')
    if isinstance(described, dict) and len(described) == 1:
        [(kind, inner)] = described.items()
        if kind == 'list':
            return list[read(inner, depth - 1)]  # type: ignore[misc]
        if kind == 'dict':
            return dict[str, read(inner, depth - 1)]  # type: ignore[misc]
        if kind in ('union', 'literal') and isinstance(inner, list) and inner:
            return _several(kind, inner, depth)
    raise stdio.Broken(f'{described!r:.80} is no type of an argument')


def _several(kind: str, inner: list[Any], depth: int) -> Any:
    if kind == 'union':
        return functools.reduce(operator.or_, (read(part, depth - 1) for part in inner))
    if all(part is None or isinstance(part, (str, int, bool)) for part in inner):
        return Literal[tuple(inner)]
    raise stdio.Broken(f'{inner!r} are no values that an argument may have')
