# SPDX-License-Identifier: Apache-2.0
"""``guestctl exec``: run a program in a guest, as if it ran here."""

import argparse
import base64
import contextlib
import sys
import uuid
from collections.abc import Mapping
from typing import Any, TextIO

from guestagent import errors
from guestagent.ctl import base

#: As of timeout(1): the command's time was over; and it could not be run at all.
TIMED_OUT = 124
NOT_RUN = 125

#: Seconds for the way of the answer, beyond those that the command has.
_GRACE = 10.0


class Exec(base.GuestCommand):
    """Run a program in a guest, print its output and return its exit code.

    The exit code is 128 and the signal's number if a signal ended it, 124 if its time
    was over, and 125 if guestctl or the guest could not run it.
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
            help='kill it after so long; default: as --timeout before the command',
        )
        parser.add_argument(
            '--stdin',
            action='store_true',
            help='send it what stands on our standard input',
        )
        parser.add_argument(
            '--output-limit',
            type=base.count,
            metavar='BYTES',
            help='keep at most so much of each of its outputs',
        )
        return parser

    def parse(
        self, parser: argparse.ArgumentParser, argv: list[str]
    ) -> argparse.Namespace:
        """Return the parsed arguments, with all that follows the first ``--``."""
        end = argv.index('--') if '--' in argv else len(argv)
        parsed = super().parse(parser, argv[:end])
        parsed.argv += argv[end + 1 :]
        if not parsed.argv:
            parser.error('no command to run: write it after --')
        return parsed

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run it, print what it printed and return the exit code."""
        limit = parsed_args.timeout or self.timeout
        command_id = uuid.uuid4().hex
        try:
            result = self.call(
                parsed_args,
                self.asks,
                _arguments(parsed_args, limit),
                timeout=limit + _GRACE,
                command_id=command_id,
            )
        except KeyboardInterrupt:
            self._cancel(parsed_args.instance, command_id)
            raise
        for name, stream in (('stdout', self.app.stdout), ('stderr', self.app.stderr)):
            _copy(result, name, stream)
            if result[f'{name}_truncated']:
                self.app.LOG.error(
                    '%s was cut: the guest keeps only so much of it (--output-limit)',
                    name,
                )
        if result['timed_out']:
            self.app.LOG.error(
                'killed after %g s, when its time was over; see --timeout', limit
            )
            return TIMED_OUT
        if result['signal'] is not None:
            return 128 + int(result['signal'])
        return int(result['exit_code'])

    def _cancel(self, instance: str, command_id: str) -> None:
        """End the program, as Ctrl-C would if it ran here, if the guest answers."""
        with contextlib.suppress(errors.GuestAgentError):
            self.client.call(
                instance,
                'agent.cancel',
                {'command_id': command_id, 'caller': self.client.caller},
                timeout=_GRACE,
            )

    def exit_code(self, error: errors.GuestAgentError) -> int:
        """Return a code that the program would hardly return itself."""
        return NOT_RUN


def _arguments(parsed_args: argparse.Namespace, limit: float) -> dict[str, Any]:
    """Return the arguments of ``exec.run``; only what was asked for is named."""
    arguments: dict[str, Any] = {'timeout': limit}
    if parsed_args.shell:
        arguments['shell'] = ' '.join(parsed_args.argv)
    else:
        arguments['argv'] = parsed_args.argv
    for name in ('user', 'cwd', 'output_limit'):
        value = getattr(parsed_args, name)
        if value is not None:
            arguments[name] = value
    if parsed_args.env:
        arguments['env'] = dict(parsed_args.env)
    if parsed_args.stdin:
        arguments.update(_input(sys.stdin.buffer.read()))
    return arguments


def _input(data: bytes) -> dict[str, str]:
    """Return bytes in the form in which they travel."""
    try:
        return {'stdin': data.decode(), 'stdin_encoding': 'utf-8'}
    except UnicodeDecodeError:
        return {'stdin': base64.b64encode(data).decode(), 'stdin_encoding': 'base64'}


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
