# SPDX-License-Identifier: Apache-2.0
"""``guestctl extension``: what a guest can do."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent.ctl import base


class ExtensionList(base.Lister):
    """List the extensions of a guest, as it last reported them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        record = self.client.conductor.instance_show(parsed_args.instance)
        extensions = record['extensions']
        return self.table(
            ('name', 'version', 'health', 'distribution', 'distribution_version'),
            ({'name': name, **extensions[name]} for name in sorted(extensions)),
            parsed_args,
        )


class ExtensionShow(base.GuestCommand, base.ShowOne):
    """Ask a guest what an extension, or one of its commands, does."""

    asks = 'agent.describe'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('extension', metavar='EXTENSION', help='as exec')
        parser.add_argument(
            'verb', metavar='COMMAND', nargs='?', help='only this command of it, as run'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the fields."""
        described = self.call(
            parsed_args, self.asks, {'extension': parsed_args.extension}
        )
        raw = parsed_args.formatter in ('json', 'yaml')
        if parsed_args.verb is not None:
            described = _find(described, parsed_args)
            if not raw:
                described['arguments'] = '\n'.join(
                    _argument(argument) for argument in described['arguments']
                )
        elif not raw:
            described['commands'] = '\n'.join(
                _summary(command) for command in described['commands']
            )
        return self.fields(described, parsed_args)


def _find(
    described: Mapping[str, Any], parsed_args: argparse.Namespace
) -> dict[str, Any]:
    """Return one command of an extension.

    :raises guestagent.errors.NoSuchRecord: it has no such command.
    """
    for command in described['commands']:
        if command['name'] == parsed_args.verb:
            return dict(command)
    raise errors.NoSuchRecord(
        f'extension {parsed_args.extension!r} of guest {parsed_args.instance!r} has no '
        f'command {parsed_args.verb!r}; see guestctl extension show '
        f'{parsed_args.instance} {parsed_args.extension}'
    )


def _summary(command: Mapping[str, Any]) -> str:
    """Return a command and the first line of what it says of itself."""
    lines = (command['doc'] or '').splitlines()
    return f'{command["name"]}: {lines[0]}' if lines else str(command['name'])


def _argument(argument: Mapping[str, Any]) -> str:
    """Return an argument as it stands in a signature."""
    text = f'{argument["name"]}: {argument["type"]}'
    return text if argument['required'] else f'{text} = {argument["default"]!r}'
