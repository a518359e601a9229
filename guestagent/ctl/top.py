# SPDX-License-Identifier: Apache-2.0
"""``guestctl top``: what guests are doing, again and again."""

import argparse
import io
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent.ctl import base

#: How many instances are looked at unless they are named.
_MOST = 50
_CLEAR = '\x1b[H\x1b[J'
_COLUMNS = (
    'instance',
    'state',
    'cpu %',
    'load',
    'memory %',
    'swap %',
    'fullest %',
    'in',
    'out',
)
_UNITS = ('', 'K', 'M', 'G', 'T')


class Top(base.Lister):
    """Show what guests are doing: processors, load, memory, disks and networks.

    It shows what they have reported, again every few seconds, until Ctrl-C.  The
    busiest comes first; "fullest" is the fullest of a guest's file systems, and
    networks are in bytes for each second.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'instances',
            metavar='INSTANCE',
            nargs='*',
            type=base.instance_id,
            help=f'these guests; else those that are UP, {_MOST} at most',
        )
        parser.add_argument(
            '--interval',
            type=base.seconds,
            default=2.0,
            metavar='SECONDS',
            help='between two looks; default: 2',
        )
        parser.add_argument(
            '--once', action='store_true', help='look once and print a table'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Return the first table."""
        return self._look(parsed_args)

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        """Print the table, and others over it, until Ctrl-C."""
        if parsed_args.once:
            return int(super().produce_output(parsed_args, column_names, data))
        out, screen = self.app.stdout, self.app.stdout.isatty()
        for number in itertools.count():
            if number:
                time.sleep(parsed_args.interval)
                _, data = self._look(parsed_args)
            # All at once, so that it does not flicker.
            self.app.stdout = held = io.StringIO()
            try:
                super().produce_output(parsed_args, column_names, data)
            finally:
                self.app.stdout = out
            out.write((_CLEAR if screen else '') + held.getvalue())
            out.flush()
        return 0

    def _look(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        raw = parsed_args.formatter in ('json', 'yaml')
        states = self._states(parsed_args.instances)
        rows: list[dict[str, Any]] = []
        for instance, state in states.items():
            facts = self.client.conductor.facts_get(instance, 'monitoring.')['facts']
            found = {name: fact['value'] for name, fact in facts.items()}
            rows.append({'instance': instance, 'state': state, **figures(found)})
        rows.sort(key=lambda row: (-(row['cpu %'] or 0), row['instance']))
        cells = [
            [row[name] if raw else _cell(name, row[name]) for name in _COLUMNS]
            for row in rows
        ]
        return _COLUMNS, iter(cells)

    def _states(self, named: Sequence[str]) -> dict[str, str]:
        """Return the instances that are looked at, with their states.

        :raises guestagent.errors.NoSuchInstance: one that is named is not known.
        """
        conductor = self.client.conductor
        if named:
            return {each: conductor.instance_show(each)['state'] for each in named}
        page = conductor.instance_list(state='UP', limit=_MOST)
        if not page['instances']:
            raise errors.NoSuchRecord('no guest is UP')
        return {each['id']: each['state'] for each in page['instances']}


def figures(facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figures of a guest; ``None``: it has not told, or told nonsense.

    :param facts: of ``monitoring``, by name.
    """
    idle = _number(facts.get('monitoring.cpu_usage'), 'idle')
    disks = facts.get('monitoring.filesystems')
    shares = [_share(each) for each in disks] if isinstance(disks, list) else []
    traffic = facts.get('monitoring.traffic')
    nics = list(traffic.values()) if isinstance(traffic, Mapping) else []
    return {
        'cpu %': None if idle is None else 100 - idle,
        'load': _number(facts.get('monitoring.load'), 'load1m'),
        'memory %': _share(facts.get('monitoring.memory'), 'available'),
        'swap %': _share(facts.get('monitoring.swap'), 'free'),
        'fullest %': max((each for each in shares if each is not None), default=None),
        'in': _sum(nics, 'rx_bytes'),
        'out': _sum(nics, 'tx_bytes'),
    }


def _number(record: Any, name: str) -> float | None:
    """Return a number of a record; a guest may say anything in its place."""
    value = record.get(name) if isinstance(record, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A whole number may be larger than one that can be divided.
        return value if abs(value) < 1e300 else None
    return None


def _share(record: Any, free: str = '') -> float | None:
    """Return how much is used, in percent.

    :param free: what names how much is not; ``''``: it says how much is ``used``.
    """
    total, part = _number(record, 'total'), _number(record, free or 'used')
    if not total or part is None:
        return None
    return 100 * (1 - part / total if free else part / total)


def _sum(records: Iterable[Any], name: str) -> float | None:
    told = [_number(record, name) for record in records]
    found = [value for value in told if value is not None]
    return sum(found) if found else None


def _cell(name: str, value: Any) -> str:
    if value is None:
        return '-'
    if isinstance(value, str):
        return base.printable(value)
    if name in ('in', 'out'):
        return _amount(value)
    return f'{value:.2f}' if name == 'load' else f'{value:.0f}'


def _amount(value: float) -> str:
    """Return bytes in a unit that fits."""
    for unit in _UNITS[:-1]:
        if value < 1000:
            return (
                f'{value:.0f}{unit}'
                if value >= 10 or not unit
                else f'{value:.1f}{unit}'
            )
        value /= 1024
    return f'{value:.1f}{_UNITS[-1]}'
