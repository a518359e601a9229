# SPDX-License-Identifier: Apache-2.0
"""``guestctl exec``: run a program in a guest, as if it ran here.

A guest whose extension ``exec`` is 1.1, and that lets us spawn, starts the program and
lets us follow it.  Any other runs it to its end, and then has all at once.
"""

import argparse
import base64
import contextlib
import os
import pathlib
import sys
import uuid
from collections.abc import Mapping
from typing import Any, TextIO

from guestagent import errors
from guestagent.ctl import base, console, program

#: Seconds for the way of the answer, beyond those that the command has.
_GRACE = 10.0


class Exec(program.Follower):
    """Run a program in a guest, print what it writes and return its exit code.

    Ctrl-C interrupts the program, and a second Ctrl-C kills it.  The exit code is 128
    and the signal's number if a signal ended it, 124 if its time was over, and 125 if
    guestctl or the guest could not run it.
    """

    asks = 'exec.run'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'argv',
            metavar='COMMAND',
            nargs='*',
            help='the program and its arguments; what follows -- is passed on as it is',
        )
        parser.add_argument(
            '--shell',
            action='store_true',
            help='give the words, joined by spaces, to a shell',
        )
        parser.add_argument(
            '--script',
            metavar='FILE',
            help='send this file, a script or a program, and run it; the words are its '
            'arguments',
        )
        parser.add_argument('--user', help='run it as this user of the guest')
        parser.add_argument('--cwd', metavar='PATH', help='run it in this folder')
        parser.add_argument(
            '--env',
            metavar='NAME=VALUE',
            action='append',
            default=[],
            type=_variable,
            help='set a variable of its environment; may be repeated',
        )
        parser.add_argument(
            '--timeout',
            type=base.seconds,
            metavar='SECONDS',
            help='kill it after so long; default: as --timeout before the command, but '
            'with --tty or --detach: as long as the guest lets it run',
        )
        parser.add_argument(
            '--stdin', action='store_true', help='pass our standard input on to it'
        )
        parser.add_argument(
            '--tty',
            action='store_true',
            help='give it a terminal, and ours if we have one; Ctrl-] leaves it',
        )
        parser.add_argument(
            '--detach',
            action='store_true',
            help='do not wait for it, and print its handle; see program attach',
        )
        parser.add_argument(
            '--output-limit',
            type=base.count,
            metavar='BYTES',
            help='show and keep at most so much of each of its outputs',
        )
        return parser

    def parse(
        self, parser: argparse.ArgumentParser, argv: list[str]
    ) -> argparse.Namespace:
        """Return the parsed arguments, with all that follows the first ``--``."""
        end = argv.index('--') if '--' in argv else len(argv)
        parsed = super().parse(parser, argv[:end])
        parsed.argv += argv[end + 1 :]
        if not parsed.argv and not parsed.script:
            parser.error('no command to run: write it after --')
        if parsed.script and parsed.shell:
            parser.error('--shell cannot stand beside --script')
        if parsed.detach and parsed.tty:
            parser.error('--detach cannot stand beside --tty')
        return parsed

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run it, print what it prints and return the exit code."""
        limit = parsed_args.timeout or self.timeout
        arguments = _arguments(parsed_args)
        if parsed_args.timeout or not _unlimited(parsed_args):
            arguments['timeout'] = limit
        happened = console.Happened()
        with console.hearing(happened):
            shown = self._spawn(parsed_args, dict(arguments), happened)
            if shown is not None and not parsed_args.detach:
                status = self._follow(parsed_args, shown)
                return 0 if status is None else self.ended(status, limit)
        if shown is None:
            return self._run(parsed_args, arguments, limit, happened)
        return self._detach(parsed_args, shown, happened)

    def _spawn(
        self,
        parsed_args: argparse.Namespace,
        arguments: dict[str, Any],
        happened: console.Happened,
    ) -> console.Console | None:
        """Start it, and return what shows it; ``None``: this guest can only run it."""
        if parsed_args.stdin or parsed_args.tty:
            arguments['keep_stdin'] = True
        if parsed_args.tty:
            size = console.terminal_size(0)
            arguments['pty'] = {'rows': size[0], 'cols': size[1]} if size else True
            term = os.environ.get('TERM', 'dumb')
            arguments['env'] = {'TERM': term, **arguments.get('env', {})}
        try:
            started = self._ask(
                parsed_args, 'exec.spawn', arguments, happened, version=console.VERSION
            )
        except (errors.UnsupportedVersion, errors.NoSuchMethod, errors.Forbidden):
            if _unlimited(parsed_args) or parsed_args.script:
                parsed_args.api_version = console.VERSION
                raise
            return None
        return self.open_console(
            parsed_args.instance, started['handle'], happened, parsed_args.output_limit
        )

    def _detach(
        self,
        parsed_args: argparse.Namespace,
        shown: console.Console,
        happened: console.Happened,
    ) -> int:
        """Leave a program that was started, and tell its handle."""
        if not happened.empty():
            shown.signal('SIGKILL')
            raise KeyboardInterrupt
        self.app.stdout.write(f'{base.printable(str(shown.handle))}\n')
        self.app.stdout.flush()
        if parsed_args.stdin:
            shown.feed(console.standard_input())
        return 0

    def _follow(
        self, parsed_args: argparse.Namespace, shown: console.Console
    ) -> dict[str, Any] | None:
        """Show a program until it ends; ``None``: it goes on without us."""
        typed = parsed_args.tty and sys.stdin.isatty()
        fed = parsed_args.tty or parsed_args.stdin
        try:
            with shown.attached(console.standard_input() if fed else None, typed):
                status = self.follow(shown, forward=not typed)
        except console.Left:
            self.tell_left(parsed_args.instance)
            return None
        except KeyboardInterrupt:
            shown.signal('SIGKILL')
            raise
        except BrokenPipeError:
            # As it would have been told here.
            shown.signal('SIGPIPE')
            raise
        shown.forget()
        return status

    def _run(
        self,
        parsed_args: argparse.Namespace,
        arguments: dict[str, Any],
        limit: float,
        happened: console.Happened,
    ) -> int:
        """Have it run to its end, then print what it printed."""
        if parsed_args.stdin:
            arguments.update(_text('stdin', sys.stdin.buffer.read()))
        with console.hearing(happened):
            result = self._ask(
                parsed_args, self.asks, arguments, happened, timeout=limit + _GRACE
            )
        for name, stream in (('stdout', self.app.stdout), ('stderr', self.app.stderr)):
            _copy(result, name, stream)
            if result[f'{name}_truncated']:
                self.tell_cut(name)
        return self.ended(result, limit)

    def _ask(
        self,
        parsed_args: argparse.Namespace,
        command: str,
        arguments: dict[str, Any],
        happened: console.Happened,
        **options: Any,
    ) -> Any:
        """Return what the guest answers; Ctrl-C cancels it, see ``console.answer``."""
        command_id = uuid.uuid4().hex

        def call() -> Any:
            return self.call(
                parsed_args, command, arguments, command_id=command_id, **options
            )

        def cancel() -> None:
            self._cancel(parsed_args.instance, command_id)

        return console.answer(happened, call, cancel)

    def _cancel(self, instance: str, command_id: str) -> None:
        """End the program, as Ctrl-C would if it ran here, if the guest answers."""
        with contextlib.suppress(errors.GuestAgentError):
            self.client.call(
                instance,
                'agent.cancel',
                {'command_id': command_id, 'caller': self.client.caller},
                timeout=_GRACE,
            )


def _unlimited(parsed_args: argparse.Namespace) -> bool:
    """Return whether the program has no time limit unless one is asked for."""
    return bool(parsed_args.tty or parsed_args.detach)


def _arguments(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of the program; only what was asked for is named.

    :raises guestagent.errors.InvalidArgument: the script cannot be read.
    """
    arguments: dict[str, Any] = {}
    if parsed_args.script:
        try:
            data = pathlib.Path(parsed_args.script).read_bytes()
        except OSError as error:
            raise errors.InvalidArgument(
                f'--script: {parsed_args.script}: {error.strerror}'
            ) from None
        arguments.update(_text('script', data))
    if parsed_args.shell:
        arguments['shell'] = ' '.join(parsed_args.argv)
    elif parsed_args.argv:
        arguments['argv'] = parsed_args.argv
    for name in ('user', 'cwd', 'output_limit'):
        value = getattr(parsed_args, name)
        if value is not None:
            arguments[name] = value
    if parsed_args.env:
        arguments['env'] = dict(parsed_args.env)
    return arguments


def _text(name: str, data: bytes) -> dict[str, str]:
    """Return an argument of bytes in the form in which it travels."""
    try:
        return {name: data.decode(), f'{name}_encoding': 'utf-8'}
    except UnicodeDecodeError:
        encoded = base64.b64encode(data).decode()
        return {name: encoded, f'{name}_encoding': 'base64'}


def _copy(result: Mapping[str, Any], name: str, stream: TextIO) -> None:
    """Write one of the outputs to ours, byte by byte as it was."""
    text = result[name]
    data = (
        base64.b64decode(text)
        if result[f'{name}_encoding'] == 'base64'
        else text.encode()
    )
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def _variable(text: str) -> tuple[str, str]:
    """Return the name and the value of ``NAME=VALUE``."""
    name, equals, value = text.partition('=')
    if not name or not equals:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=VALUE')
    return name, value
