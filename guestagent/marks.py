# SPDX-License-Identifier: Apache-2.0
"""How a method of an extension is marked as a command, or as periodic.

Authors have all of this from :mod:`guestagent.extension`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Method = TypeVar('Method', bound=Callable[..., Any])

#: The attributes under which the two decorators leave their marks.
COMMAND_MARK = '__guestagent_command__'
PERIODIC_MARK = '__guestagent_periodic__'


class CommandInfo:
    """What :func:`command` was told about a method."""

    __slots__ = ('inline', 'mutates', 'repeatable', 'sensitive', 'timeout', 'urgent')

    def __init__(
        self,
        mutates: bool,
        timeout: float | None,
        repeatable: bool,
        sensitive: frozenset[str],
        inline: bool = False,
        urgent: bool = False,
    ) -> None:
        self.inline = inline
        self.urgent = urgent
        self.mutates = mutates
        self.timeout = timeout
        self.repeatable = repeatable
        self.sensitive = sensitive


class PeriodicInfo:
    """What :func:`periodic` was told about a method; times in seconds."""

    __slots__ = ('first', 'immediately', 'jitter', 'option', 'spacing')

    def __init__(
        self,
        spacing: float,
        option: str | None,
        jitter: float,
        immediately: bool,
        first: float | None = None,
    ) -> None:
        self.spacing = spacing
        self.option = option
        self.jitter = jitter
        self.immediately = immediately
        self.first = first


def command(
    *,
    mutates: bool,
    timeout: float | None = 60,
    repeatable: bool = False,
    sensitive: Sequence[str] = (),
    inline: bool = False,
    urgent: bool = False,
) -> Callable[[Method], Method]:
    """Mark a method as a command that callers may send.

    The method takes ``(self, context, **arguments)``; every argument needs an
    annotation, which the agent checks before the method runs (``str``, ``int``,
    ``float``, ``bool``, ``list[...]``, ``dict[str, ...]``, ``Literal[...]``,
    unions, ``Any``).  It returns what JSON can carry.

    :param mutates: whether it changes the guest.  A command that does has one
        outcome that reaches the conductor; one that does not may run twice.
    :param timeout: seconds until the caller is told that it did not end;
        ``None``: the extension limits it itself.
    :param repeatable: running it once more after a crash does no harm.
    :param sensitive: arguments (and ``'return'``, the result) that must appear in
        no log, journal or error.
    :param inline: it returns at once what is known, and so waits for no worker; all
        else that the agent does waits for it.
    :param urgent: it must get through when nothing else does, as what thaws a disk: it
        has a thread of its own, and may use room that is kept back.
    :raises ValueError: it is inline and changes the guest.
    """
    if inline and mutates:
        raise ValueError('a command that changes the guest cannot be inline')
    info = CommandInfo(
        mutates, timeout, repeatable, frozenset(sensitive), inline, urgent
    )

    def mark(method: Method) -> Method:
        setattr(method, COMMAND_MARK, info)
        return method

    return mark


def periodic(
    *,
    spacing: float,
    option: str | None = None,
    jitter: float = 0.1,
    immediately: bool = True,
    first: float | None = None,
) -> Callable[[Method], Method]:
    """Mark a method that the agent calls every ``spacing`` seconds.

    It takes only ``self``; it runs on a worker thread and never twice at once: a
    run that is late makes the next one wait.

    :param option: the name of an option of this extension that overrides
        ``spacing``; a value of 0 turns the method off.
    :param jitter: the share of the period by which each run is moved at random, so
        that a thousand guests do not report in the same second.
    :param immediately: whether the first run follows the start at once.
    :param first: seconds until the first run where it does not; ``None``: a period.
    """
    info = PeriodicInfo(spacing, option, jitter, immediately, first)

    def mark(method: Method) -> Method:
        setattr(method, PERIODIC_MARK, info)
        return method

    return mark
