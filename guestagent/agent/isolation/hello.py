# SPDX-License-Identifier: Apache-2.0
"""What an extension's process says of itself: its hello, read and judged; no I/O."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from guestagent import extension
from guestagent.agent.isolation import kinds, stdio

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*\Z')
_VERSION = re.compile(r'\d+\.\d+\Z')

#: What the class that stands in for the extension needs for itself.
_TAKEN = {name for name in dir(extension.Extension) if not name.startswith('_')} | {
    'conf',
    'isolated_process',
    'name',
    'plan',
    'rouse',
}


class Argument(NamedTuple):
    """An argument of a command; ``default`` counts unless it is ``required``."""

    name: str
    annotation: Any
    required: bool
    default: Any


class Command(NamedTuple):
    """A command."""

    doc: str
    info: extension.CommandInfo
    arguments: list[Argument]
    returns: Any


class Option(NamedTuple):
    """An option of the extension's section; its value travels as text.

    :ivar default: as text, ``None`` where text cannot say it.
    :ivar multiple: whether it may stand there several times.
    """

    help: str
    default: str | None
    multiple: bool
    secret: bool


class Hello(NamedTuple):
    """What there is, by name."""

    version: str
    doc: str
    needs_root: str
    commands: dict[str, Command]
    periodics: dict[str, extension.PeriodicInfo]
    options: dict[str, Option]


def read(message: Mapping[str, Any]) -> Hello:
    """Return what a hello says.

    :raises guestagent.agent.isolation.stdio.Broken: it makes no sense.
    """
    if message['type'] != 'hello':
        raise stdio.Broken(f'the first message is {message["type"]!r}, not "hello"')
    protocol = message.get('protocol')
    if protocol != stdio.PROTOCOL:
        raise stdio.Broken(
            f'it speaks protocol {protocol!r}; this agent speaks {stdio.PROTOCOL}'
        )
    version = _get(message, 'version', str, '1.0')
    if not _VERSION.match(version):
        raise stdio.Broken(f'version {version!r} is not as 1.0')
    said = Hello(
        version,
        _get(message, 'doc', str, ''),
        _get(message, 'needs_root', str, ''),
        {name: _command(name, about) for name, about in _named(message, 'commands')},
        {name: _periodic(about) for name, about in _named(message, 'periodics')},
        {name: _option(about) for name, about in _named(message, 'options')},
    )
    _check(said)
    return said


def _check(said: Hello) -> None:
    """Judge the names together."""
    for name in (*said.commands, *said.periodics):
        if name in _TAKEN or (name in said.commands and name in said.periodics):
            raise stdio.Broken(f'the name {name!r} is taken; choose another')
    for name, info in said.periodics.items():
        if info.option is not None and info.option not in said.options:
            raise stdio.Broken(
                f'periodic method {name!r} has the option {info.option!r}, '
                f'which does not exist'
            )


def _command(name: str, about: Mapping[str, Any]) -> Command:
    if 'mutates' not in about:
        raise stdio.Broken(f'command {name!r} does not say whether it mutates')
    info = extension.CommandInfo(
        _get(about, 'mutates', bool, True),
        None if about.get('timeout', 60) is None else _number(about, 'timeout', 60),
        _get(about, 'repeatable', bool, False),
        frozenset(map(str, _get(about, 'sensitive', list, []))),
        urgent=_get(about, 'urgent', bool, False),
    )
    arguments = [_argument(each) for each in _get(about, 'arguments', list, [])]
    # Python's own rule, and a reader's: what may be left out comes last.
    arguments.sort(key=lambda argument: not argument.required)
    if len({argument.name for argument in arguments}) < len(arguments):
        raise stdio.Broken(f'command {name!r} has two arguments of one name')
    returns = kinds.read(about.get('returns', 'any'))
    return Command(_get(about, 'doc', str, ''), info, arguments, returns)


def _argument(about: Any) -> Argument:
    if not isinstance(about, dict) or not _is_name(about.get('name')):
        raise stdio.Broken(f'{about!r} describes no argument')
    if keyword.iskeyword(about['name']):
        raise stdio.Broken(f'no argument can have the name {about["name"]!r}')
    annotation = kinds.read(about.get('type', 'any'))
    required = 'default' not in about
    return Argument(about['name'], annotation, required, about.get('default'))


def _periodic(about: Mapping[str, Any]) -> extension.PeriodicInfo:
    jitter = _number(about, 'jitter', 0.1)
    if jitter > 1:
        raise stdio.Broken(f'jitter is {jitter!r}, more than 1')
    return extension.PeriodicInfo(
        _number(about, 'spacing', 60),
        _get(about, 'option', (str, type(None)), None),
        jitter,
        _get(about, 'immediately', bool, True),
        None if about.get('first') is None else _number(about, 'first', 0),
    )


def _option(about: Mapping[str, Any]) -> Option:
    return Option(
        _get(about, 'help', str, ''),
        _get(about, 'default', (str, type(None)), None),
        _get(about, 'multiple', bool, False),
        _get(about, 'secret', bool, False),
    )


def _named(message: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    found = _get(message, key, dict, {})
    for name, about in found.items():
        if not _is_name(name) or not isinstance(about, dict):
            raise stdio.Broken(
                f'{key}: {name!r} must be a name, and describe something'
            )
    return list(found.items())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.match(value) is not None


def _number(about: Mapping[str, Any], key: str, default: float) -> float:
    value = _get(about, key, (int, float), default)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not 0 <= number < math.inf:
        raise stdio.Broken(f'{key} is {value!r:.80}')
    return number


def _get(about: Mapping[str, Any], key: str, kind: Any, default: Any) -> Any:
    value = about.get(key, default)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kinds):
        raise stdio.Broken(f'{key} is {value!r}')
    return value
