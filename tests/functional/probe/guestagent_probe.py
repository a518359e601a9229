# SPDX-License-Identifier: Apache-2.0
"""An extension that does what tests want to see: answers, sleeps, fails, reports."""

import itertools
import pathlib
import threading
import time
import uuid
from typing import Any

from oslo_config import cfg

from guestagent import errors, extension


class Probe(extension.Extension):
    """What a test asks of an agent."""

    version = '1.2'
    options = (
        cfg.StrOpt('marks', default=''),
        cfg.FloatOpt('period', default=0, mutable=True),
        cfg.FloatOpt('pulse', default=0),
    )

    def start(self) -> None:
        self._run = uuid.uuid4().hex
        self._pulses = itertools.count(1)
        self._lock = threading.Lock()
        self._ran = 0

    @extension.command(mutates=False)
    def echo(self, context: extension.Context, value: Any = None) -> Any:
        """Return the value."""
        return value

    @extension.command(mutates=False)
    def seen(self, context: extension.Context) -> dict[str, Any]:
        """Return what the context holds."""
        return {
            'caller': context.caller,
            'id': context.command_id,
            'values': dict(context.values),
        }

    @extension.command(mutates=False, timeout=600)
    def sleep(self, context: extension.Context, seconds: float) -> str:
        """Sleep, awake only to see whether anyone still waits."""
        woken = threading.Event()
        context.on_cancel(woken.set)
        woken.wait(seconds)
        context.check()
        return 'slept'

    @extension.command(mutates=True, timeout=600)
    def climb(self, context: extension.Context, to: str) -> str:
        """Report a progress of 40 percent until there is a file of this name."""
        context.report_progress(40, 'disk 2 of\x1b[31m 5')
        while not pathlib.Path(to).exists():
            context.check()
            time.sleep(0.1)
        return 'there'

    @extension.command(mutates=False, timeout=1)
    def hang(self, context: extension.Context, seconds: float) -> str:
        """Sleep and hear nothing."""
        time.sleep(seconds)
        return 'too late'

    @extension.command(mutates=True, timeout=600)
    def mark(
        self,
        context: extension.Context,
        text: str,
        seconds: float = 0,
        after: str | None = None,
    ) -> int:
        """Add a line to the file of marks; return how many were added.

        :param after: not before there is a file of this name.
        """
        if seconds:  # libfaketime cannot sleep for no time
            time.sleep(seconds)
        while after is not None and not pathlib.Path(after).exists():
            context.check()
            time.sleep(0.05)
        with self._lock:
            self._ran += 1
            with pathlib.Path(self.conf.marks).open('a') as file:
                file.write(text + '\n')
            return self._ran

    @extension.command(mutates=True, repeatable=True, timeout=600)
    def mark_again(
        self,
        context: extension.Context,
        text: str,
        seconds: float = 0,
        after: str | None = None,
    ) -> int:
        """As ``mark``, but it may run again after a crash."""
        return self.mark(context, text, seconds, after)

    @extension.command(mutates=True, sensitive=('return',))
    def secret(self, context: extension.Context) -> str:
        """Return a secret."""
        return 'hunter2'

    @extension.command(mutates=False)
    def fail(self, context: extension.Context, kind: str) -> None:
        """Fail in several ways."""
        if kind == 'ours':
            raise errors.InvalidArgument('this value makes no sense')
        if kind == 'builtin':
            raise LookupError('nothing there')
        raise Odd('odd')

    @extension.command(mutates=False)
    def unsendable(self, context: extension.Context) -> Any:
        """Return what JSON cannot carry."""
        return {'a': {1, 2}}

    @extension.command(mutates=False)
    def large(self, context: extension.Context, size: int) -> str:
        """Return so many characters."""
        return 'x' * size

    @extension.command(mutates=False)
    def tell(
        self,
        context: extension.Context,
        facts: dict[str, Any],
        event: str | None = None,
    ) -> None:
        """Report facts, and an event."""
        self.report_facts(facts)
        if event:
            self.report_event(event, {'told': True})

    @extension.command(mutates=False)
    def ask(self, context: extension.Context, other: str, command: str) -> Any:
        """Ask another extension."""
        return self.call(other, command, context=context)

    @extension.periodic(spacing=1, option='period')
    def tick(self) -> None:
        """Leave a mark of the period."""
        with pathlib.Path(self.conf.marks).open('a') as file:
            file.write('tick\n')

    @extension.periodic(spacing=1, option='pulse')
    def beat(self) -> None:
        """Report an event with its number in this run, and leave that in a file."""
        number = next(self._pulses)
        with pathlib.Path(f'{self.conf.marks}.pulses').open('a') as file:
            file.write(f'{self._run} {number}\n')
        self.report_event('pulse', {'run': self._run, 'n': number})


class Odd(Exception):
    """An error of the extension's own."""


class StartsBadly(extension.Extension):
    """Fails to start."""

    def start(self) -> None:
        raise RuntimeError('no such device')


class BadAnnotation(extension.Extension):
    """Has an annotation that JSON cannot carry."""

    @extension.command(mutates=False)
    def take(self, context: extension.Context, value: bytes) -> None:
        """Take bytes."""
