# SPDX-License-Identifier: Apache-2.0
"""``guestctl program``: programs of a guest that outlive the call that started them."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from guestagent import errors
from guestagent.ctl import base, console

#: As of timeout(1): the program's time was over; and it could not be run at all.
TIMED_OUT = 124
NOT_RUN = 125


class Follower(base.GuestCommand):
    """A command that shows a program while it runs, and returns its exit code."""

    _handle = ''

    def open_console(
        self,
        instance: str,
        handle: str,
        happened: console.Happened,
        limit: int | None = None,
    ) -> console.Console:
        """Return what shows it.

        :param happened: see :func:`guestagent.ctl.console.hearing`.
        :param limit: how many bytes of each output; ``None``: all.
        """
        self._handle = handle
        outputs = {'stdout': self.app.stdout, 'stderr': self.app.stderr}
        return console.Console(
            self.client,
            instance,
            handle,
            self.timeout,
            {name: stream.buffer for name, stream in outputs.items()},
            happened,
            limit or sys.maxsize,
        )

    def follow(self, shown: console.Console, forward: bool = False) -> dict[str, Any]:
        """Show what it writes until it has ended; return its status."""
        status = shown.follow(forward)
        self._handle = ''
        for name, count in shown.lost.items():
            if count:
                self.app.LOG.error('the guest has dropped %d bytes of %s', count, name)
        for name in sorted(shown.cut):
            self.tell_cut(name)
        return status

    def tell_cut(self, name: str) -> None:
        """Tell that there was more of an output."""
        self.app.LOG.error('%s was cut: there was more of it (--output-limit)', name)

    def tell_left(self, instance: str) -> None:
        """Tell how to go on with a program that goes on."""
        self.app.LOG.error('%s', self._way_back(instance))

    def ended(self, result: Mapping[str, Any], limit: float | None = None) -> int:
        """Return the exit code for how a program has ended.

        :param limit: the seconds that it had, where we know.
        """
        if result.get('error'):
            self.app.LOG.error('%s', result['error'])
            return NOT_RUN
        if result['timed_out']:
            self.app.LOG.error(
                'killed after %g s, when its time was over; see --timeout',
                limit or result['seconds'],
            )
            return TIMED_OUT
        if result['signal'] is not None:
            return 128 + int(result['signal'])
        return int(result['exit_code'])

    def explain(
        self, error: errors.GuestAgentError, parsed_args: argparse.Namespace
    ) -> str:
        """Add how to go on with a program of which we do not know more."""
        text = super().explain(error, parsed_args)
        if not self._handle or isinstance(error, errors.CallerError):
            return text
        return f'{text}; {self._way_back(parsed_args.instance)}'

    def exit_code(self, error: errors.GuestAgentError) -> int:
        """Return a code that the program would hardly return itself."""
        return NOT_RUN

    def _way_back(self, instance: str) -> str:
        again = shlex.join(['guestctl', 'program', 'attach', instance, self._handle])
        return f'the program goes on; to see it again: {again}'


class ProgramList(base.GuestCommand, base.Lister):
    """List the programs of this caller that a guest runs, or still remembers."""

    asks = 'exec.list'

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        parsed_args.api_version = console.VERSION
        found = self.call(parsed_args, self.asks, version=console.VERSION)
        records = (
            {
                **each,
                'state': _state(each),
                'started': _time(each['started']),
                'seconds': round(each['seconds'], 1),
            }
            for each in found
        )
        columns = ('handle', 'pid', 'state', 'started', 'seconds', 'user', 'command')
        return self.table(columns, records, parsed_args)


class ProgramAttach(Follower):
    """Show what a program of a guest has written and writes; return its exit code.

    What the guest has kept comes first.  Ctrl-C leaves the program, and it goes on.
    """

    asks = 'exec.poll'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        _add_handle(parser)
        parser.add_argument(
            '--stdin',
            action='store_true',
            help='pass our standard input on to it, if it was started so that it takes '
            'more; a program with a terminal gets ours, and Ctrl-] leaves it',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Show it, and return its exit code."""
        parsed_args.api_version = console.VERSION
        happened = console.Happened()
        shown = self.open_console(parsed_args.instance, parsed_args.handle, happened)
        status = shown.ask('status')
        fed = parsed_args.stdin and status['input_open']
        if fed:
            shown.taken = shown.ask('write')['offset']
        typed = fed and status['pty'] and sys.stdin.isatty()
        source = console.standard_input() if fed else None
        try:
            with console.hearing(happened), shown.attached(source, typed):
                status = self.follow(shown)
        except (KeyboardInterrupt, console.Left) as left:
            self.tell_left(parsed_args.instance)
            if isinstance(left, KeyboardInterrupt):
                raise
            return 0
        return self.ended(status)


class ProgramSignal(base.GuestCommand):
    """Send a signal to a program of a guest, and to all that it has started."""

    asks = 'exec.signal'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        _add_handle(parser)
        parser.add_argument(
            'signal',
            metavar='SIGNAL',
            nargs='?',
            default='TERM',
            help='its name or number; default: TERM',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Send it."""
        parsed_args.api_version = console.VERSION
        self.call(
            parsed_args,
            self.asks,
            {'handle': parsed_args.handle, 'signal': parsed_args.signal},
            version=console.VERSION,
        )


def _add_handle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'handle',
        metavar='HANDLE',
        type=lambda text: int(text) if text.isdecimal() else text,
        help='as exec --detach or program list prints it; or the number of the process',
    )


def _state(status: Mapping[str, Any]) -> str:
    if status['running']:
        return 'running'
    if status['signal_name']:
        return str(status['signal_name'])
    return 'lost' if status['error'] else f'exit {status["exit_code"]}'


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime('%Y-%m-%dT%H:%M:%SZ')
