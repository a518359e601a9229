# SPDX-License-Identifier: Apache-2.0
"""``guestctl event``: what has happened, as guests and the conductor recorded it."""

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from guestagent.ctl import base, filters, stream

#: How many past events stand before those that are followed.
_BEFORE = 10


class EventList(stream.Streamer):
    """List the events that guests have reported, the oldest first."""

    endless = 'follow'
    widths: ClassVar[Mapping[str, int]] = {
        'id': 6,
        'instance': 16,
        'at': 24,
        'type': 18,
    }

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--instance', metavar='INSTANCE', help='only those of this guest'
        )
        parser.add_argument(
            '--type',
            metavar='PATTERN',
            help='only those of this type, as instance.down, or instance.*',
        )
        filters.add_times(parser)
        parser.add_argument(
            '--after',
            metavar='ID',
            type=base.number,
            help='only those after the event with this id',
        )
        filters.add_limit(parser, '100, and with --follow without end')
        parser.add_argument(
            '--last',
            metavar='N',
            type=base.count,
            help='the last N instead of the first; at most 1000',
        )
        parser.add_argument(
            '--follow',
            action='store_true',
            help='print the last ten, or those that --last, --after or --since name, '
            'and then each that comes, until Ctrl-C',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table, or rows without end."""
        chosen = {
            'instance': parsed_args.instance,
            'type': parsed_args.type,
            'since': parsed_args.since,
            'until': parsed_args.until,
        }
        found: Iterable[dict[str, Any]]
        if parsed_args.follow:
            self._check_follow(parsed_args)
            found = itertools.islice(
                self._follow(chosen, parsed_args), parsed_args.limit
            )
        elif parsed_args.last is not None:
            found = self._last(chosen, parsed_args.last, parsed_args.after)
        else:
            found = itertools.islice(
                self.client.conductor.events(after=parsed_args.after, **chosen),
                parsed_args.limit or filters.LIMIT,
            )
        return self.table(('id', 'instance', 'at', 'type', 'data'), found, parsed_args)

    def _check_follow(self, parsed_args: argparse.Namespace) -> None:
        if parsed_args.until is not None:
            self.usage_error('--until cannot stand beside --follow')
        begins = ('last', 'after', 'since')
        given = [name for name in begins if getattr(parsed_args, name) is not None]
        if len(given) > 1:
            self.usage_error(
                f'--{given[0]} cannot stand beside --{given[1]} and --follow'
            )

    def _last(
        self, chosen: Mapping[str, Any], count: int, after: int | None
    ) -> list[dict[str, Any]]:
        page = self.client.conductor.event_list(
            after=after, limit=count, newest=True, **chosen
        )
        return list(page['events'])

    def _follow(
        self, chosen: Mapping[str, Any], parsed_args: argparse.Namespace
    ) -> Iterable[dict[str, Any]]:
        after = parsed_args.after
        if after is None and parsed_args.since is None:
            last = self._last(chosen, parsed_args.last or _BEFORE, None)
            # The first of them is read again: what became visible late is among them.
            after = last[0]['id'] - 1 if last else 0
        return self.client.conductor.follow_events(
            after=after or 0, trouble=self.trouble, **chosen
        )
