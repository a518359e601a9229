# SPDX-License-Identifier: Apache-2.0
"""``guestctl command`` and ``event``: what guests have reported to the conductor."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent.ctl import base


class CommandList(base.Lister):
    """List the outcomes that a guest has reported."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        return self.table(
            ('command_id', 'caller', 'command', 'outcome', 'started', 'seconds'),
            self.client.conductor.commands(parsed_args.instance), parsed_args)


class CommandShow(base.ShowOne):
    """Show the outcome of a command, with its result or error."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument('command_id', metavar='COMMAND_ID',
                            help='the id that cast printed')
        return parser

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the fields."""
        return self.fields(
            self.client.conductor.command_show(
                parsed_args.instance, parsed_args.command_id), parsed_args)


class EventList(base.Lister):
    """List the events that guests have reported, the oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--instance', metavar='INSTANCE',
                            help='only those of this guest')
        return parser

    def take_action(self, parsed_args: argparse.Namespace,
                    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        return self.table(('instance', 'at', 'type', 'data'),
                          self.client.conductor.events(parsed_args.instance),
                          parsed_args)
