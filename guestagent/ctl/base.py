# SPDX-License-Identifier: Apache-2.0
"""What the commands of ``guestctl`` have in common: errors, exit codes, tables."""

import argparse
import functools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import cliff.command
import cliff.lister
import cliff.show

from guestagent import errors
from guestagent.bus import topics
from guestagent.ctl import progress

if TYPE_CHECKING:
    from guestagent import client
    from guestagent.ctl import app as ctl_app

#: Read if it is there and no other is named.
CONFIG_FILE = '/etc/guestagent/guestctl.conf'

FAILED = 1
USAGE = 2
NOT_FOUND = 3
NO_ANSWER = 4
REFUSED = 5

#: The exit code by the code of the error; all others: FAILED.
_EXIT_CODES = {
    'config': USAGE,
    'no-such-instance': NOT_FOUND,
    'no-such-record': NOT_FOUND,
    'no-answer': NO_ANSWER,
    'timeout': NO_ANSWER,
    'forbidden': REFUSED,
    'refused': REFUSED,
    'busy': REFUSED,
    'stopping': REFUSED,
}

#: What may help, by the code of the error.
_HINTS = {
    'busy': 'try again later',
    'bus': 'see that it runs, and check --transport-url',
}


def usage_error(program: str, message: str) -> NoReturn:
    """Say in one line what is wrong with the arguments, and end with 2."""
    sys.stderr.write(f'guestctl: {message}; see {program} --help\n')
    raise SystemExit(USAGE)


def seconds(text: str) -> float:
    """Return a number of seconds above 0.

    :raises argparse.ArgumentTypeError: ``text`` is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of seconds above 0')
    return value


def count(text: str) -> int:
    """Return a whole number above 0.

    :raises argparse.ArgumentTypeError: ``text`` is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def number(text: str) -> int:
    """Return a whole number, 0 or above.

    :raises argparse.ArgumentTypeError: ``text`` is none.
    """
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number')
    return int(text)


def cell(value: Any, raw: bool) -> Any:
    """Return a value as one cell: unchanged if ``raw``, else as text for people."""
    if raw:
        return value
    if value is None:
        return ''
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ', '.join(value)
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    return printable(value)


def printable(text: str) -> str:
    """Return text of a guest without what would steer the terminal."""
    if text.isprintable():
        return text
    return ''.join(
        char if char.isprintable() or char == '\n' else ascii(char)[1:-1]
        for char in text
    )


class Command(cliff.command.Command):
    """A command whose errors are one line and an exit code.

    :ivar result_code: the exit code when nothing was raised.
    """

    app: 'ctl_app.App'
    _program = 'guestctl'

    def __init__(self, app: 'ctl_app.App', app_args: argparse.Namespace | None) -> None:
        # No name for the base class: with one it would search for plug-ins of this
        # command in all that is installed.
        super().__init__(app, app_args)
        self.result_code = 0

    @property
    def client(self) -> 'client.Client':
        """The client of the bus."""
        return self.app.client()

    @property
    def timeout(self) -> float:
        """The seconds to wait for an answer."""
        return float(self.app.options.timeout)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser whose errors are one line, and that :meth:`parse` uses."""
        self._program = prog_name
        parser = super().get_parser(prog_name)
        parser.allow_abbrev = False
        # The library makes the parser, and of its own class.
        changed: Any = parser
        changed.error = self.usage_error
        changed.parse_args = functools.partial(self.parse, parser)
        return parser

    def parse(
        self, parser: argparse.ArgumentParser, argv: list[str]
    ) -> argparse.Namespace:
        """Return the parsed arguments; options may stand anywhere among them."""
        return parser.parse_intermixed_args(argv)

    def usage_error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with the arguments, and end with 2."""
        usage_error(self._program, message)

    def waiting(self, text: str) -> progress.SignOfLife:
        """Return a context in which a person sees that, and how long, we wait."""
        return progress.SignOfLife(self.app.stderr, f'guestctl: {text}')

    def get_epilog(self) -> str:
        """Return nothing; the library's own looks at all that is installed."""
        return ''

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run, and return the exit code."""
        try:
            return super().run(parsed_args) or self.result_code
        except errors.GuestAgentError as error:
            text = ' '.join(self.explain(error, parsed_args).split())
            self.app.LOG.error(text, exc_info=self.app.options.debug)
            return self.exit_code(error)

    def explain(
        self, error: errors.GuestAgentError, parsed_args: argparse.Namespace
    ) -> str:
        """Return what to tell about an error, on one line."""
        hint = _HINTS.get(error.code)
        return f'{error}; {hint}' if hint else str(error)

    def exit_code(self, error: errors.GuestAgentError) -> int:
        """Return the exit code for an error (doc/guestctl.rst)."""
        return _EXIT_CODES.get(error.code, FAILED)


class Lister(Command, cliff.lister.Lister):
    """A command that prints a table of records."""

    def table(
        self,
        columns: Sequence[str],
        records: Iterable[Mapping[str, Any]],
        parsed_args: argparse.Namespace,
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Return what the library prints; the rows are made one by one."""
        raw = parsed_args.formatter in ('json', 'yaml')

        def rows() -> Iterator[list[Any]]:
            for record in records:
                yield [cell(record.get(name), raw) for name in columns]
            # Right after an answer this takes no time; after the rows were laid out,
            # which may take a while, the library waits about as long once more.
            self.app.close_client()

        return columns, rows()


class ShowOne(Command, cliff.show.ShowOne):
    """A command that prints one record, a line for each field."""

    def fields(
        self, record: Mapping[str, Any], parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Return what the library prints."""
        raw = parsed_args.formatter in ('json', 'yaml')
        return tuple(record), tuple(cell(value, raw) for value in record.values())


class GuestCommand(Command):
    """A command that a guest answers; ``parsed_args.instance`` is its name.

    :cvar asks: what it asks the guest, unless ``parsed_args.command`` says that.
    """

    asks = ''

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser that takes the instance first."""
        parser = super().get_parser(prog_name)
        self.add_instance(parser)
        return parser

    def add_instance(self, parser: argparse.ArgumentParser) -> None:
        """Add the argument that names the guest."""
        add_instance(parser)

    def explain(
        self, error: errors.GuestAgentError, parsed_args: argparse.Namespace
    ) -> str:
        """Add what the conductor knows of a guest that does not answer."""
        instance = parsed_args.instance
        if error.code == 'no-answer':
            return f'{error}{self._state(instance)}'
        name = self.asks or getattr(parsed_args, 'command', '')
        extension, _, verb = name.partition('.')
        if isinstance(error, errors.UnsupportedVersion):
            version = getattr(parsed_args, 'api_version', '1.0')
            return (
                f'guest {instance!r} does not serve {extension!r} in version '
                f'{version}; see guestctl extension list {instance}'
            )
        if isinstance(error, errors.NoSuchMethod):
            return (
                f'extension {extension!r} of guest {instance!r} has no command '
                f'{verb!r}; see guestctl extension show {instance} {extension}'
            )
        return super().explain(error, parsed_args)

    def call(
        self,
        parsed_args: argparse.Namespace,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Return what the guest answers; a person sees a sign of life meanwhile.

        :param timeout: seconds; ``None``: as the command line says.
        :param options: more of :meth:`guestagent.client.Client.call`.
        """
        instance = parsed_args.instance
        with self.waiting(f'waiting for {command} of {instance}'):
            return self.client.call(
                instance,
                command,
                arguments,
                timeout=self.timeout if timeout is None else timeout,
                **options,
            )

    def _state(self, instance: str) -> str:
        """Return the end of a sentence that tells what the conductor knows."""
        try:
            record = self.client.conductor.within(3).instance_show(instance)
        except errors.NoSuchInstance:
            return '; the conductor has never heard of it'
        except errors.GuestAgentError:
            # What is being told already matters more.
            return ''
        return (
            f'; for the conductor it is {record["state"]}, last seen at '
            f'{record["last_seen"]}'
        )


def add_instance(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the guest."""
    parser.add_argument(
        'instance', metavar='INSTANCE', type=instance_id, help="the guest's instance id"
    )


def instance_id(text: str) -> str:
    """Return the id of an instance.

    :raises argparse.ArgumentTypeError: ``text`` may not be one.
    """
    try:
        return topics.check_instance_id(text)
    except errors.InvalidArgument as error:
        raise argparse.ArgumentTypeError(str(error)) from None
