# SPDX-License-Identifier: Apache-2.0
"""``guestctl instance``: which guests there are, and how they are."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent.ctl import base


class InstanceList(base.Lister):
    """List the instances that the conductor knows."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--state',
            metavar='STATE',
            type=str.upper,
            choices=['NEW', 'UP', 'DOWN', 'STOPPED'],
            help='only those in this state: NEW, UP, DOWN or STOPPED',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        return self.table(
            ('id', 'state', 'agent_version', 'last_seen', 'extensions'),
            self.client.conductor.instances(parsed_args.state),
            parsed_args,
        )


class InstanceShow(base.ShowOne):
    """Show what the conductor knows of an instance."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the fields; extensions by name alone where people read."""
        record = self.client.conductor.instance_show(parsed_args.instance)
        if parsed_args.formatter not in ('json', 'yaml'):
            record['extensions'] = sorted(record['extensions'])
        return self.fields(record, parsed_args)
