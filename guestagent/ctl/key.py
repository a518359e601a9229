# SPDX-License-Identifier: Apache-2.0
"""``guestctl key``: make keys, and those of guests; needs no bus."""

import argparse
import os
import time

from guestagent import errors, keyfile
from guestagent.ctl import base
from guestagent.seal import keys, value


class KeyNew(base.Command):
    """Print a new master key, as a line for a file of keys.

    It is a secret: have only its owner read the file (umask 077).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='NAME',
            type=_name,
            help='of the program that commands guests, or of the conductor',
        )
        parser.add_argument(
            '--use',
            choices=keys.USES,
            metavar='USE',
            default=keys.COMMANDS,
            help='what for: commands, or reports (the conductor); default: commands',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        secret = os.urandom(value.KEY_SIZE)
        line = keys.Line(parsed_args.use, parsed_args.name, True, secret)
        self.app.stdout.write(f'{line}\n')


class KeyDerive(base.Command):
    """Print the keys of a guest, for its own file of keys."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            'files',
            metavar='FILE',
            nargs='*',
            help='with master keys; default: the file that commands are sealed with',
        )
        parser.add_argument(
            '--until',
            metavar='TIME',
            type=_time,
            help='when they end, in UTC, as 2027-01-31T12:00:00Z; default: as the '
            'master keys',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print them.

        :raises guestagent.errors.ConfigError: a file cannot be read, or is none of
            master keys.
        """
        if parsed_args.files:
            lines = [
                line for path in parsed_args.files for line in keyfile.read(path, '')
            ]
        else:
            from guestagent.ctl import session

            source = session.key_source(self.app.options)
            if not any(source):
                self.usage_error('name a FILE with master keys, or set --key-file')
            lines = keyfile.read(*source)
        if not lines or not all(line.master for line in lines):
            raise errors.ConfigError(
                'there must be master keys (gam1-...), and nothing else'
            )
        for line in lines:
            if line.valid(time.time()):
                made = line.derive(parsed_args.instance)
                if parsed_args.until is not None:
                    made = made.ending(parsed_args.until)
                self.app.stdout.write(f'{made}\n')


def _name(text: str) -> str:
    try:
        return keys.check_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time(text: str) -> float:
    try:
        return keys.parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
