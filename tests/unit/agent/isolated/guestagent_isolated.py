# SPDX-License-Identifier: Apache-2.0
"""An extension for a process of its own: it works, hangs, dies and floods."""

import ctypes
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any, Literal

from oslo_config import cfg

from guestagent import errors, extension


class Isolated(extension.Extension):
    """What tests ask of it."""

    version = '1.3'
    options = (
        cfg.StrOpt('marks', default='/dev/null'),
        cfg.FloatOpt('period', default=0, min=0),
        cfg.BoolOpt('start', default=True),
        cfg.ListOpt('colours', default=['red']),
        cfg.MultiStrOpt('place'),
        cfg.StrOpt('password', secret=True),
    )

    def start(self) -> None:
        self._mark('start')
        self.well = 'ok'
        if not self.conf.start:
            raise errors.GuestError('there is no such device')

    def stop(self) -> None:
        self._mark('stop')

    def health(self) -> str:
        return self.well

    def _mark(self, text: str) -> None:
        with pathlib.Path(self.conf.marks).open('a') as file:
            file.write(f'{text}\n')

    @extension.command(mutates=False)
    def echo(self, context: extension.Context, value: Any = None) -> Any:
        """Return the value."""
        return value

    @extension.command(mutates=True, urgent=True)
    def freeze(self, context: extension.Context, devices: list[str]) -> bool:
        """Have the agent keep off them, or on again if there are none."""
        if devices:
            return self.hold_storage(devices, 30)
        self.release_storage()
        return False

    @extension.command(mutates=True, timeout=7, sensitive=('return',))
    def seen(
        self,
        context: extension.Context,
        kind: Literal['a', 'b'],
        numbers: list[int] | None = None,
        table: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        """Return what it sees."""
        return {
            'caller': context.caller,
            'owner': context.owner,
            'id': context.command_id,
            'values': dict(context.values),
            'remaining': context.remaining(),
            'kind': kind,
            'numbers': numbers,
            'colours': self.conf.colours,
            'place': self.conf.place,
            'pid': os.getpid(),
            'environment': dict(os.environ),
            'modules': sorted(sys.modules),
            'path': sys.path,
        }

    @extension.command(mutates=False, timeout=1)
    def wait(self, context: extension.Context, seconds: float) -> str:
        """Wait, awake only to see whether anyone still waits."""
        woken = threading.Event()
        context.on_cancel(woken.set)
        woken.wait(seconds)
        if context.cancelled:
            self._mark('cancelled')
        context.check()
        return 'waited'

    @extension.command(mutates=False, timeout=1)
    def hang(self, context: extension.Context) -> None:
        """Hear nothing."""
        self._mark('hanging')
        time.sleep(600)

    @extension.command(mutates=True)
    def die(self, context: extension.Context, how: str) -> None:
        """End the process in one of several ways."""
        sys.stderr.write('the last words\n')
        sys.stderr.flush()
        if how == 'signal':
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(600)
        elif how == 'garbage':
            os.write(3, b'hello, world\n')
            os.write(4, b'hello, world\n')
        os._exit(3)

    @extension.command(mutates=False)
    def advance(self, context: extension.Context) -> None:
        """Report progress, a lot of it, and wait for the end."""
        woken = threading.Event()
        context.on_cancel(woken.set)
        for number in range(10000):
            context.report_progress(number / 1000, 'copying')
        context.report_progress(40, 'disk 2 of 5')
        woken.wait(60)

    @extension.command(mutates=False)
    def fail(self, context: extension.Context, kind: str) -> None:
        """Fail in several ways."""
        if kind == 'ours':
            raise errors.InvalidArgument('this value makes no sense')
        if kind == 'builtin':
            raise LookupError('nothing there')
        raise Odd('odd')

    @extension.command(mutates=False)
    def tell(self, context: extension.Context, well: str = 'ok') -> None:
        """Report."""
        print('this must not meet the protocol')
        os.system('echo nor must this')
        self.well = well
        self.report_facts({'colour': 'red', 'gone': None})
        self.report_event('told', {'id': context.command_id})

    @extension.command(mutates=False)
    def ask(self, context: extension.Context, other: str, method: str) -> Any:
        """Ask another extension."""
        return self.call(other, method, context=context)

    @extension.command(mutates=False)
    def take(self, context: extension.Context, mib: int) -> int:
        """Take so much memory, and use it."""
        ctypes.memset(ctypes.create_string_buffer(mib * 2**20), 1, mib * 2**20)
        self.kept = bytearray(mib * 2**20)
        return len(self.kept)

    @extension.command(mutates=False)
    def limits(self, context: extension.Context) -> dict[str, list[int]]:
        """Return the limits of the process."""
        import resource

        names = ('RLIMIT_DATA', 'RLIMIT_NOFILE', 'RLIMIT_CPU', 'RLIMIT_CORE')
        return {
            name: list(resource.getrlimit(getattr(resource, name))) for name in names
        }

    @extension.command(mutates=False)
    def large(self, context: extension.Context, size: int) -> str:
        """Return so many characters."""
        return 'x' * size

    @extension.command(mutates=False)
    def unsendable(self, context: extension.Context) -> Any:
        """Return what JSON cannot carry."""
        return {1, 2}

    @extension.command(mutates=False)
    def fork(self, context: extension.Context) -> int:
        """Leave a process behind that holds the outputs."""
        pid = os.fork()
        if not pid:
            time.sleep(600)
        return pid

    @extension.periodic(spacing=60, option='period')
    def tick(self) -> None:
        """Leave a mark, and count."""
        self.ticks = getattr(self, 'ticks', 0) + 1
        self.report_facts({'ticks': self.ticks})


class Odd(Exception):
    """An error of the extension's own."""


class Moody(extension.Extension):
    """Its health changes when nobody asks, or cannot be asked for."""

    well = 'ok'

    def health(self) -> str:
        if not self.well:
            raise LookupError('no health')
        return self.well

    @extension.command(mutates=False)
    def wake(
        self, context: extension.Context, well: str | None = 'the moon is full'
    ) -> None:
        """Change a little later."""
        threading.Timer(0.1, setattr, (self, 'well', well)).start()


class Holding(extension.Extension):
    """Holds something open for as long as it is told; options on demand."""

    held = False

    @classmethod
    def list_options(cls) -> list[cfg.Opt]:
        return [cfg.StrOpt('colour', default='red')]

    def busy(self) -> bool:
        return self.held

    @extension.command(mutates=False)
    def hold(self, context: extension.Context, seconds: float) -> list[Any]:
        """Hold it for so long; return the process and an option."""
        self.held = True
        threading.Timer(seconds, setattr, (self, 'held', False)).start()
        return [os.getpid(), self.conf.colour]


class BadAnnotation(extension.Extension):
    """Has an annotation that JSON cannot carry."""

    @extension.command(mutates=False)
    def take(self, context: extension.Context, value: bytes) -> None:
        """Take bytes."""
