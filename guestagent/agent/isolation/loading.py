# SPDX-License-Identifier: Apache-2.0
"""Ask an isolated extension what it is, and make the class that stands in for it.

The registry treats that class as any extension's: its methods have the marks, the
annotations and the docstrings of the commands that the process has named.
"""

from __future__ import annotations

import inspect
import logging
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from guestagent import errors, extension
from guestagent.agent import selfcheck
from guestagent.agent.isolation import hello, keeper, limits, process, session, spawn

LOG = logging.getLogger(__name__)

#: Where the host of extensions in Python is.
_CHILD = 'guestagent.agent.isolation.child'


class Isolated(extension.Extension):
    """Stands in the agent for an extension whose process is elsewhere."""

    plan: keeper.Plan

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._keeper = keeper.Keeper(name, self.plan, self._values, host)

    def start(self) -> None:
        """Start what is never idle; anything else starts when it is used."""
        self._keeper.begin()

    def rouse(self) -> None:
        """Start the process now, as when it is used."""
        self._keeper.rouse()

    def stop(self) -> None:
        """End the process."""
        self._keeper.stop()

    def health(self) -> str:
        """Return what the process said last of itself, or how it ended."""
        return self._keeper.health()

    def isolated_process(self) -> dict[str, int] | None:
        """Return ``{pid, memory_bytes}``, ``None`` while there is no process."""
        pid = self._keeper.pid()
        if pid is None:
            return None
        try:
            return {'pid': pid, 'memory_bytes': selfcheck.memory(pid)}
        except OSError:
            return None  # it has just ended

    def _values(self) -> keeper.Values:
        return values(self.conf, self.options)

    def _run(
        self, method: str, context: extension.Context, arguments: Mapping[str, Any]
    ) -> Any:
        """Have the process run a command."""
        about = {
            'caller': context.caller,
            'proven': context.proven,
            'command_id': context.command_id,
            'values': dict(context.values),
            'seconds': context.remaining(),
        }
        fields = {'method': method, 'args': arguments, 'context': about}
        return self._keeper.ask('call', fields, context)

    def _run_periodic(self, method: str) -> None:
        """Have the process run a periodic method; one that is away runs none."""
        try:
            self._keeper.ask('periodic', {'method': method})
        except errors.ExtensionDied as error:
            LOG.error('%s', error)
        except errors.Transient:
            pass  # it died and waits for its next start, as the log says


def program(name: str, conf: Any, value: str | None) -> list[str]:
    """Return what is to be run.

    :param value: where a package has the class, as ``module:Class``.
    :raises guestagent.errors.ConfigError: the option ``command`` makes no sense.
    """
    if value is not None:
        return spawn.python(_CHILD, name, value)
    try:
        argv = shlex.split(conf[name].command)
    except ValueError as error:
        raise errors.ConfigError(f'[{name}] command: {error}') from None
    if not argv or not argv[0].startswith('/'):
        raise errors.ConfigError(
            f'[{name}] command must begin with the full path of a program'
        )
    return argv


def load(name: str, conf: Any, argv: Sequence[str]) -> type[Isolated]:
    """Return the class that stands in for an extension, its options registered.

    The process is started, asked, given its options to judge, and ended.

    :raises guestagent.errors.ExtensionDied: it does not answer as it should.
    :raises guestagent.errors.ConfigError: a period is no number of seconds.
    :raises: what it says of its options.
    """
    section = conf[name]
    bounds = limits_of(section)
    try:
        asked = session.Session(name, argv, bounds, extension.Host(), _ignore)
    except OSError as error:
        raise errors.ExtensionDied(f'its process cannot be made: {error}') from None
    try:
        said = asked.open()
        options = [_option(each, about) for each, about in said.options.items()]
        conf.register_opts(options, group=name)
        asked.configure(values(section, options), start=False)
        for info in said.periodics.values():
            if info.option is not None:
                _check_period(name, info.option, section[info.option])
    finally:
        asked.stop()
    return _stand_in(said, options, keeper.Plan(argv, section.isolate_idle, bounds))


def limits_of(section: Any) -> limits.Limits:
    """Return what the process of an extension may take."""
    return limits.Limits(
        section.isolate_memory,
        section.isolate_cpu,
        section.isolate_cpu_time,
        section.isolate_files,
    )


def _check_period(name: str, option: str, text: Any) -> None:
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise errors.ConfigError(
            f'[{name}] {option}: {text!r} is not a number of seconds from 0'
        )


def values(section: Any, options: Sequence[cfg.Opt]) -> keeper.Values:
    """Return the texts of the options that have a value."""
    found = {option.dest: section[option.dest] for option in options}
    return {name: value for name, value in found.items() if value is not None}


def _ignore(_session: session.Session, _end: process.End) -> None:
    """Do nothing: who asked is told."""


def _option(name: str, about: hello.Option) -> cfg.Opt:
    kind = cfg.MultiStrOpt if about.multiple else cfg.StrOpt
    default = None if about.multiple else about.default
    return kind(name, default=default, help=about.help, secret=about.secret)


def _stand_in(
    said: hello.Hello, options: Sequence[cfg.Opt], plan: keeper.Plan
) -> type[Isolated]:
    members: dict[str, Any] = {
        '__doc__': said.doc,
        'version': said.version,
        'needs_root': said.needs_root,
        'options': options,
        'plan': plan,
    }
    for name, command in said.commands.items():
        members[name] = _command(name, command)
    for name, info in said.periodics.items():
        members[name] = _periodic(name, info)
    return type('Isolated', (Isolated,), members)


def _command(name: str, command: hello.Command) -> Callable[..., Any]:
    def run(self: Isolated, context: extension.Context, **arguments: Any) -> Any:
        return self._run(name, context, arguments)

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ('self', 'context')
    ]
    hints = {}
    for argument in command.arguments:
        default = inspect.Parameter.empty if argument.required else argument.default
        parameters.append(
            inspect.Parameter(
                argument.name, inspect.Parameter.KEYWORD_ONLY, default=default
            )
        )
        hints[argument.name] = argument.annotation
    made: Any = run
    made.__name__, made.__doc__ = name, command.doc
    made.__signature__ = inspect.Signature(parameters)
    made.__annotations__ = {**hints, 'return': command.returns}
    setattr(made, extension.COMMAND_MARK, command.info)
    return run


def _periodic(name: str, info: extension.PeriodicInfo) -> Callable[..., None]:
    def run(self: Isolated) -> None:
        self._run_periodic(name)

    run.__name__ = name
    setattr(run, extension.PERIODIC_MARK, info)
    return run
