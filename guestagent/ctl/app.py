# SPDX-License-Identifier: Apache-2.0
"""The program around the commands of ``guestctl``: global options, errors, the bus.

Commands are found by their entry points in the group ``guestagent.ctl``.  Nothing of
oslo.messaging is imported before a command needs the bus.
"""

import argparse
import difflib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import cliff.app
import cliff.command
from cliff import commandmanager, help

import guestagent
from guestagent.ctl import base, completion

if TYPE_CHECKING:
    from guestagent import client

#: The group of the commands' entry points.
COMMANDS = 'guestagent.ctl'


#: How long to wait for an answer, in seconds.
TIMEOUT = 60.0


class Commands(commandmanager.CommandManager):
    """Finds commands by their words, and says what is near when there is none."""

    def find_command(self, argv: list[str]) -> Any:
        """Return the command's class, its name and the arguments that are left.

        :raises ValueError: there is no such command.
        """
        try:
            return super().find_command(argv)
        except ValueError:
            raise ValueError(self._suggest(argv)) from None

    def _suggest(self, argv: list[str]) -> str:
        names = sorted(self.commands)
        near = [name for name in names if name.split()[0] == argv[0]]
        near = near or difflib.get_close_matches(' '.join(argv[:2]), names)
        hint = f'did you mean: {", ".join(near)}?' if near else 'see guestctl --help'
        words = argv[:2] if near and near[0].split()[0] == argv[0] else argv[:1]
        return f'unknown command {" ".join(words)!r}; {hint}'


class _GlobalParser(argparse.ArgumentParser):
    """Takes the options before the command, and leaves the rest as it is.

    What follows belongs to the command: ``guestctl exec x -- ls --debug`` passes
    ``--debug`` on.
    """

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return the global options, and the command with its arguments."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f'unknown option {unknown[0]}')
        if options.timeout is None:
            options.timeout = self._environment_timeout()
        return options, options.command

    def _environment_timeout(self) -> float:
        text = os.environ.get('GUESTAGENT_TIMEOUT')
        try:
            return base.seconds(text) if text else TIMEOUT
        except argparse.ArgumentTypeError as error:
            self.error(f'GUESTAGENT_TIMEOUT: {error}')

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and end with 2."""
        base.usage_error('guestctl', message)


class App(cliff.app.App):
    """``guestctl``."""

    NAME = 'guestctl'
    LOG = logging.getLogger(NAME)

    def __init__(self) -> None:
        super().__init__(
            'Ask the conductor about guests, and guests to do things.',
            guestagent.__version__,
            Commands(COMMANDS),
        )
        # In place of the library's, whose script needs the package bash-completion.
        self.command_manager.add_command('complete', completion.Complete)
        self._client: client.Client | None = None

    def client(self) -> 'client.Client':
        """Return the client of the bus that the options name, made when needed.

        :raises guestagent.errors.ConfigError: they name none, or a wrong one.
        """
        if self._client is None:
            from guestagent.ctl import session

            self._client = session.open_client(self.options)
        return self._client

    def close_client(self) -> None:
        """Close the client; whoever needs one after that gets another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        """Return the parser of what stands before the command."""
        parser = _GlobalParser(
            prog=self.NAME,
            description=description,
            add_help=False,
            allow_abbrev=False,
            usage='guestctl [options] command [arguments]',
        )
        _add_bus_options(parser)
        _add_general_options(parser, self, version)
        # Without the default a missing command would be None in Python 3.11.
        parser.add_argument(
            'command', nargs=argparse.REMAINDER, default=[], help=argparse.SUPPRESS
        )
        return parser

    def configure_logging(self) -> None:
        """Let only this program's own words reach the terminal, unless asked."""
        handler = logging.StreamHandler(self.stderr)
        handler.setFormatter(_Formatter('guestctl: %(message)s'))
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(logging.DEBUG if self.options.verbose else logging.CRITICAL)
        for name in ('cliff', 'guestctl'):
            logging.getLogger(name).setLevel(logging.WARNING)

    def get_fuzzy_matches(self, cmd: str) -> list[str]:
        """Return nothing: :class:`Commands` has said what is near."""
        return []

    def interact(self) -> None:
        """Ask for a command: there is no interactive mode."""
        self.parser.error('no command given')

    def clean_up(
        self, cmd: cliff.command.Command, result: int, err: BaseException | None
    ) -> None:
        """Close the bus, if it was opened."""
        self.close_client()


class _Formatter(logging.Formatter):
    """Lets no text of a guest steer the terminal, such as that of its errors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return base.printable(super().format(record))


def _add_bus_options(parser: argparse.ArgumentParser) -> None:
    bus = parser.add_argument_group('the bus')
    bus.add_argument(
        '--transport-url',
        metavar='URL',
        default=os.environ.get('GUESTAGENT_TRANSPORT_URL'),
        help='where the bus is, as rabbit://user:password@host:port/vhost; also '
        'GUESTAGENT_TRANSPORT_URL, or transport_url in the file below',
    )
    bus.add_argument(
        '--exchange',
        default=os.environ.get('GUESTAGENT_EXCHANGE'),
        help='the control exchange of the guests; also GUESTAGENT_EXCHANGE, or '
        'control_exchange in the file below; default: guestagent',
    )
    bus.add_argument(
        '--config-file',
        metavar='PATH',
        default=os.environ.get('GUESTAGENT_CONFIG_FILE') or None,
        help=f'an oslo.config file; also GUESTAGENT_CONFIG_FILE; default: '
        f'{base.CONFIG_FILE}, if it is there',
    )
    bus.add_argument(
        '--caller',
        default=os.environ.get('GUESTAGENT_CALLER') or '',
        help='the name by which guests know who asks; also GUESTAGENT_CALLER; '
        'default: that of the only key, or the name of the user',
    )
    bus.add_argument(
        '--key-file',
        metavar='PATH',
        default=os.environ.get('GUESTAGENT_KEY_FILE'),
        help='the master keys that commands are sealed with; also '
        'GUESTAGENT_KEY_FILE, or [seal] key_file in the file above',
    )
    bus.add_argument(
        '--timeout',
        type=base.seconds,
        metavar='SECONDS',
        help='how long to wait for an answer; also GUESTAGENT_TIMEOUT; default: 60',
    )


def _add_general_options(
    parser: argparse.ArgumentParser, app: App, version: str | None
) -> None:
    parser.add_argument(
        '-h',
        '--help',
        action=help.HelpAction,
        nargs=0,
        default=app,
        help='show this and the commands, and exit',
    )
    parser.add_argument(
        '--version',
        action='version',
        version=f'guestctl {version}',
        help='show the version, and exit',
    )
    parser.add_argument(
        '-v', '--verbose', action='store_true', help='show what the libraries log'
    )
    parser.add_argument(
        '--debug', action='store_true', help='show a traceback with an error'
    )


def main(argv: list[str]) -> int:
    """Run one command and return the exit code."""
    return App().run(argv)
