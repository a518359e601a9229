# SPDX-License-Identifier: Apache-2.0
"""``guestctl call``, ``cast`` and ``ping``: any command of any extension."""

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent.ctl import base, watch


class _Request(base.GuestCommand):
    """What call and cast have in common: the command and its arguments."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'command', metavar='EXTENSION.VERB', help='the command, as monitoring.read'
        )
        parser.add_argument(
            'arguments',
            metavar='KEY=VALUE',
            nargs='*',
            type=pair,
            default=[],
            help='an argument; the value is JSON if it can be read so, else text '
            '(the text 1.10 is \'key="1.10"\')',
        )
        parser.add_argument(
            '--json',
            metavar='OBJECT',
            type=json_object,
            default={},
            help='arguments as one JSON object',
        )
        parser.add_argument(
            '--api-version',
            metavar='X.Y',
            default='1.0',
            help="the version of the extension's commands; default: 1.0",
        )
        parser.add_argument(
            '--id', metavar='ID', help="the command's id, to repeat a former request"
        )
        return parser


class Call(_Request):
    """Run a command in a guest and print its result."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '-f',
            '--format',
            choices=sorted(_FORMATS),
            default='json',
            help='how; "value" is a text as it is, and all else as JSON on one line; '
            'default: json',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Call, and print."""
        result = self.call(
            parsed_args,
            parsed_args.command,
            _arguments(parsed_args),
            version=parsed_args.api_version,
            command_id=parsed_args.id,
        )
        self.app.stdout.write(_FORMATS[parsed_args.format](result))


class Cast(_Request, base.ShowOne):
    """Send a command to a guest without waiting, and print its id."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--wait',
            action='store_true',
            help='wait until the conductor has the outcome, as "command watch" does, '
            'and print that; the exit code is 1 if it is not "done"',
        )
        parser.add_argument(
            '--wait-timeout',
            type=base.seconds,
            metavar='SECONDS',
            help='how long; default: as --timeout before the command',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Cast, wait if asked to, and return the fields."""
        instance = parsed_args.instance
        command_id = self.client.cast(
            instance,
            parsed_args.command,
            _arguments(parsed_args),
            version=parsed_args.api_version,
            command_id=parsed_args.id,
        )
        if not parsed_args.wait:
            return self.fields(
                {'instance': instance, 'command_id': command_id}, parsed_args
            )
        record = watch.show(
            self,
            instance,
            command_id,
            self.client.caller,
            parsed_args.wait_timeout or self.timeout,
            insist=True,
        )
        if record['outcome'] not in ('done', 'withheld'):
            self.result_code = base.FAILED
        return self.fields(record, parsed_args)


class Ping(base.GuestCommand):
    """Have a guest's agent answer, and print how long that took."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ping, and print."""
        with self.waiting(f'waiting for {parsed_args.instance}'):
            self.client.ping(parsed_args.instance, self.timeout)
            # The first one opened the connections.
            seconds = self.client.ping(parsed_args.instance, self.timeout)
        self.app.stdout.write(
            f'{parsed_args.instance} answered in {seconds * 1000:.1f} ms\n'
        )


def _json(result: Any) -> str:
    return json.dumps(result, indent=2, ensure_ascii=False) + '\n'


def _yaml(result: Any) -> str:
    import yaml

    text = yaml.safe_dump(result, allow_unicode=True, sort_keys=False)
    # What is no list or object would be followed by the end of a document.
    return text.removesuffix('...\n')


def _value(result: Any) -> str:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text if text.endswith('\n') else f'{text}\n'


_FORMATS = {'json': _json, 'yaml': _yaml, 'value': _value}


def _arguments(parsed_args: argparse.Namespace) -> dict[str, Any]:
    return {**parsed_args.json, **dict(parsed_args.arguments)}


def _no_constant(name: str) -> float:
    raise ValueError(f'{name} is not JSON')


def pair(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``KEY=VALUE``."""
    key, equals, value = text.partition('=')
    if not key or not equals:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    try:
        return key, json.loads(value, parse_constant=_no_constant)
    except ValueError:
        return key, value


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'not JSON: {error}') from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('it must be an object, as {"key": "value"}')
    return value
