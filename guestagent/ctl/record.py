# SPDX-License-Identifier: Apache-2.0
"""``guestctl command`` and ``event``: what guests have reported to the conductor."""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent.ctl import base


class CommandList(base.Lister):
    """List the outcomes that a guest has reported, the newest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        _add_limit(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        found = self.client.conductor.commands(parsed_args.instance)
        return self.table(
            ('command_id', 'caller', 'command', 'outcome', 'started', 'seconds'),
            itertools.islice(found, parsed_args.limit),
            parsed_args,
        )


class CommandShow(base.ShowOne):
    """Show the outcome of a command, with its result or error."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            'command_id', metavar='COMMAND_ID', help='the id that cast printed'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the fields."""
        return self.fields(
            self.client.conductor.command_show(
                parsed_args.instance, parsed_args.command_id
            ),
            parsed_args,
        )


class EventList(base.Lister):
    """List the events that guests have reported, the oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--instance', metavar='INSTANCE', help='only those of this guest'
        )
        parser.add_argument(
            '--after', metavar='ID', help='only those after the event with this id'
        )
        _add_limit(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        found = self.client.conductor.events(parsed_args.instance, parsed_args.after)
        return self.table(
            ('id', 'instance', 'at', 'type', 'data'),
            itertools.islice(found, parsed_args.limit),
            parsed_args,
        )


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--limit',
        type=base.count,
        default=100,
        metavar='N',
        help='at most so many; default: 100',
    )
