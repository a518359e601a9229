# SPDX-License-Identifier: Apache-2.0
"""``guestctl graph``: numbers that a guest has reported, as they were for a while."""

import argparse
import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from guestagent import errors
from guestagent.ctl import base, filters

#: What the conductor calls the facts of the usual extension.
_USUAL = 'monitoring.'
#: By the end of a file's name, what is drawn there.
_FORMATS = ('.png', '.svg', '.pdf')
_INCHES, _DOTS = (10, 5), 110
#: matplotlib counts days from 1970.
_DAY = 86400.0

Series: TypeAlias = Mapping[str, Sequence[Sequence[float]]]


class Graph(base.Lister):
    """Draw numbers that a guest has reported, or list them.

    With -o it draws them into a file, which needs matplotlib; else it prints each
    point: the time, the name of the series, and the number from then on.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            'name',
            metavar='NAME',
            help='a fact, or one number of it: memory, load.load1m, traffic.eth0; '
            'monitoring. before it may be left out',
        )
        parser.add_argument(
            '--since',
            type=filters.moment,
            metavar='TIME',
            help='from then on: a time, or how long ago, as 10m or 2h; default: 1h',
        )
        parser.add_argument(
            '--until', type=filters.moment, metavar='TIME', help='only before that'
        )
        parser.add_argument(
            '-o',
            '--output',
            metavar='FILE',
            type=_output,
            help='draw it into this file: .png, .svg or .pdf',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Return the points, or draw them and return none."""
        found = self._find(parsed_args)
        if parsed_args.output is None:
            columns = ('at', 'series', 'value')
            return self.table(columns, _points(found), parsed_args)
        _draw(found, f'{parsed_args.instance}: {parsed_args.name}', parsed_args.output)
        return (), iter(())

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """Print the table, unless there is a picture."""
        if parsed_args.output is not None:
            return 0
        return int(super().produce_output(parsed_args, column_names, data))

    def _find(self, parsed_args: argparse.Namespace) -> Series:
        """Return the series of this name.

        :raises guestagent.errors.NoSuchRecord: there are none.
        """
        name = parsed_args.name
        for full in (name, f'{_USUAL}{name}'):
            series: Series = self.client.conductor.series_get(
                parsed_args.instance,
                full,
                since=parsed_args.since,
                until=parsed_args.until,
            )['series']
            if series:
                return series
        raise errors.NoSuchRecord(
            f'there are no numbers of {name!r} in this time; guestctl facts '
            f'{parsed_args.instance} shows what there is, and [conductor] series_facts '
            f'says of what numbers are kept'
        )


def _output(text: str) -> str:
    if os.path.splitext(text)[1].lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(
            f'{text!r} must end with {", ".join(_FORMATS[:-1])} or {_FORMATS[-1]}'
        )
    return text


def _points(found: Series) -> Iterator[dict[str, Any]]:
    """Return all points in the order of their times."""
    points = [(at, name, value) for name in found for at, value in found[name]]
    for at, name, value in sorted(points):
        moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
        text = moment.isoformat(timespec='seconds').replace('+00:00', 'Z')
        yield {'at': text, 'series': name, 'value': value}


def _draw(found: Series, title: str, path: str) -> None:
    """Draw each series as steps: a number holds until the next point.

    :raises guestagent.errors.ConfigError: matplotlib is missing.
    :raises guestagent.errors.GuestError: the file cannot be written.
    """
    try:
        # Not pyplot: no window is wanted, and the choice of one takes time.
        from matplotlib import dates, figure
    except ImportError as error:
        raise errors.ConfigError(
            f'a graph is drawn by matplotlib, which is missing ({error}): install '
            f'python3-matplotlib, or print the numbers with -f csv'
        ) from None
    made = figure.Figure(figsize=_INCHES, layout='constrained')
    axes = made.add_subplot(title=_plain(title))
    for name, points in found.items():
        axes.step(
            [at / _DAY for at, _ in points],
            [value for _, value in points],
            where='post',
            marker='.',
            markersize=4,
            label=_plain(name.removeprefix(_USUAL)),
        )
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_xlabel('UTC')
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        made.savefig(path, dpi=_DOTS)
    except OSError as error:
        raise errors.GuestError(f'{path} cannot be written: {error.strerror}') from None


def _plain(text: str) -> str:
    """Return text that is no formula to matplotlib, whatever a guest has written."""
    return text.replace('$', r'\$')
