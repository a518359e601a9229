# SPDX-License-Identifier: Apache-2.0
"""``guestctl facts``: what a guest has reported about itself."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from guestagent.ctl import base, stream


class Facts(stream.Streamer):
    """List the facts that a guest has reported."""

    endless = 'watch'
    widths: ClassVar[Mapping[str, int]] = {'updated': 24, 'change': 7, 'key': 28}

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            'prefix',
            metavar='PREFIX',
            nargs='?',
            help='only facts whose names begin so, as monitoring.',
        )
        parser.add_argument(
            '--watch',
            action='store_true',
            help='go on and print each change as it comes, until Ctrl-C',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table, or rows without end."""
        if parsed_args.watch:
            return self.table(
                ('updated', 'change', 'key', 'value'),
                self.client.conductor.follow_facts(
                    parsed_args.instance, parsed_args.prefix, trouble=self.trouble
                ),
                parsed_args,
            )
        facts = self.client.conductor.facts_get(
            parsed_args.instance, parsed_args.prefix
        )['facts']
        return self.table(
            ('key', 'value', 'updated'),
            ({'key': key, **facts[key]} for key in sorted(facts)),
            parsed_args,
        )
