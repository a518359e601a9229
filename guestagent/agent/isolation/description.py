# SPDX-License-Identifier: Apache-2.0
"""What a class in Python says of itself in the hello, and its options given as text."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension
from guestagent.agent.isolation import kinds, stdio

if TYPE_CHECKING:
    from oslo_config import cfg


def describe(kind: type[extension.Extension]) -> dict[str, Any]:
    """Return the hello of an extension's class, without its type.

    :raises TypeError: it is none, or an annotation cannot be checked.
    """
    if not (isinstance(kind, type) and issubclass(kind, extension.Extension)):
        raise TypeError(f'{kind!r} is no guestagent.extension.Extension')
    commands, periodics = {}, {}
    for name in dir(kind):
        method = getattr(kind, name)
        info = getattr(method, extension.COMMAND_MARK, None)
        if info is not None and not name.startswith('_'):
            commands[name] = _command(method, info)
        period = getattr(method, extension.PERIODIC_MARK, None)
        if period is not None:
            periodics[name] = _slots(period)
    return {
        'protocol': stdio.PROTOCOL,
        'version': kind.version,
        'doc': inspect.getdoc(kind) or '',
        'needs_root': kind.needs_root,
        'commands': commands,
        'periodics': periodics,
        'options': {option.dest: _option(option) for option in kind.list_options()},
    }


def section(
    name: str, kind: type[extension.Extension], texts: Mapping[str, Any]
) -> Any:
    """Return the section of an extension, its options read from their texts.

    :raises guestagent.errors.ConfigError: one of them makes no sense.
    """
    options = kind.list_options()
    if not options:
        return None
    from oslo_config import cfg  # an extension without options does without

    conf = cfg.ConfigOpts()
    conf([], project='guestagent', default_config_files=[], default_config_dirs=[])
    conf.register_opts(options, group=name)
    for option, text in texts.items():
        try:
            conf.set_override(option, text, group=name)
        except ValueError as error:
            raise errors.ConfigError(f'[{name}] {option}: {error}') from None
    return conf[name]


def _command(method: Any, info: extension.CommandInfo) -> dict[str, Any]:
    hints = typing.get_type_hints(method)
    arguments = []
    for parameter in list(inspect.signature(method).parameters.values())[2:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f'{method.__qualname__}: a command takes no *{parameter.name}'
            )
        if parameter.name not in hints:
            raise TypeError(
                f'{method.__qualname__}: argument {parameter.name!r} has no annotation'
            )
        about = {'name': parameter.name, 'type': kinds.describe(hints[parameter.name])}
        if parameter.default is not parameter.empty:
            about['default'] = parameter.default
        arguments.append(about)
    return {
        **_slots(info),
        'sensitive': sorted(info.sensitive),
        'doc': inspect.getdoc(method) or '',
        'arguments': arguments,
        'returns': _returns(hints.get('return', Any)),
    }


def _returns(annotation: Any) -> Any:
    """Return what a command returns; nobody checks it, so anything may stand there."""
    try:
        return kinds.describe(annotation)
    except TypeError:
        return 'any'


def _slots(info: Any) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__slots__}


def _option(option: cfg.Opt) -> dict[str, Any]:
    default = option.default
    if isinstance(default, bool):
        default = str(default).lower()
    return {
        'help': option.help or '',
        'default': str(default) if isinstance(default, (str, int, float)) else None,
        'multiple': bool(option.multi),
        'secret': bool(option.secret),
    }
