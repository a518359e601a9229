# SPDX-License-Identifier: Apache-2.0
"""``guestctl command``: the commands that guests were sent, and how they ended."""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent import errors
from guestagent.ctl import base, filters, watch


class CommandList(base.GuestCommand, base.Lister):
    """List the outcomes that guests have reported, the newest first."""

    asks = 'agent.list'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        filters.add_caller(parser, 'anybody')
        parser.add_argument(
            '--command',
            metavar='PATTERN',
            help='only those of this name, as exec.run, or exec.*',
        )
        parser.add_argument(
            '--outcome',
            choices=['done', 'failed', 'interrupted', 'withheld'],
            metavar='OUTCOME',
            help='only those that ended so: done, failed, interrupted or withheld',
        )
        filters.add_times(parser)
        filters.add_limit(parser)
        parser.add_argument(
            '--running',
            action='store_true',
            help='ask the guest for those that it is at work on instead',
        )
        return parser

    def add_instance(self, parser: argparse.ArgumentParser) -> None:
        """Add the instance; without it the outcomes of all are listed."""
        parser.add_argument(
            'instance',
            metavar='INSTANCE',
            nargs='?',
            help="the guest's instance id; default: all guests",
        )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table."""
        if parsed_args.running:
            return self._running(parsed_args)
        found = self.client.conductor.commands(
            parsed_args.instance,
            caller=parsed_args.of,
            command=parsed_args.command,
            outcome=parsed_args.outcome,
            since=parsed_args.since,
            until=parsed_args.until,
        )
        columns = ('command_id', 'caller', 'command', 'outcome', 'started', 'seconds')
        return self.table(
            columns if parsed_args.instance else ('instance', *columns),
            itertools.islice(found, parsed_args.limit or filters.LIMIT),
            parsed_args,
        )

    def explain(
        self, error: errors.GuestAgentError, parsed_args: argparse.Namespace
    ) -> str:
        """Speak of the guest only if it was the guest that was asked."""
        asked = base.GuestCommand if parsed_args.running else base.Command
        return asked.explain(self, error, parsed_args)

    def _running(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        if parsed_args.instance is None:
            self.usage_error('--running needs an INSTANCE')
        for name in ('command', 'outcome', 'since', 'until'):
            if getattr(parsed_args, name) is not None:
                self.usage_error(f'--{name} cannot stand beside --running')
        found = (
            {**record, 'seconds': _rounded(record['seconds'])}
            for record in self.call(parsed_args, self.asks)
            if parsed_args.of in (None, record['caller'])
        )
        return self.table(
            ('command_id', 'caller', 'command', 'state', 'seconds', 'percent', 'text'),
            itertools.islice(found, parsed_args.limit or filters.LIMIT),
            parsed_args,
        )


class CommandShow(base.ShowOne):
    """Show the outcome of a command, with its result or error."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        _add_id(parser)
        filters.add_caller(parser, 'the last who used this id')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the fields."""
        return self.fields(
            self.client.conductor.command_show(
                parsed_args.instance, parsed_args.command_id, parsed_args.of
            ),
            parsed_args,
        )


class CommandWatch(base.GuestCommand, base.ShowOne):
    """Wait until a command has ended, and show its outcome.

    Where the command reports how far it is, a bar shows that.  The wait may be
    interrupted and begun again: the command goes on.  The exit code is 1 if the outcome
    is not "done".
    """

    asks = 'agent.status'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        _add_id(parser)
        filters.add_caller(parser, 'as --caller before the command')
        parser.add_argument(
            '--wait-timeout',
            type=base.seconds,
            metavar='SECONDS',
            help='how long; default: until it ends',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Wait, and return the fields."""
        record = watch.show(
            self,
            parsed_args.instance,
            parsed_args.command_id,
            self.client.caller if parsed_args.of is None else parsed_args.of,
            parsed_args.wait_timeout,
        )
        if record['outcome'] not in ('done', 'withheld'):
            self.result_code = base.FAILED
        return self.fields(record, parsed_args)


class CommandCancel(base.GuestCommand):
    """Ask a guest to end a command that it is at work on."""

    asks = 'agent.cancel'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        _add_id(parser)
        filters.add_caller(parser, 'anybody')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Cancel, and say so.

        :raises guestagent.errors.NoSuchRecord: the guest is at work on no such command.
        """
        arguments = {'command_id': parsed_args.command_id}
        if parsed_args.of is not None:
            arguments['caller'] = parsed_args.of
        if not self.call(parsed_args, self.asks, arguments)['cancelled']:
            raise errors.NoSuchRecord(
                f'guest {parsed_args.instance!r} is at work on no command '
                f'{parsed_args.command_id!r}: it has ended, or was never sent; see '
                f'guestctl command show {parsed_args.instance} '
                f'{parsed_args.command_id}'
            )
        self.app.stdout.write(f'cancelled {parsed_args.command_id}\n')


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'command_id', metavar='COMMAND_ID', help='the id that cast printed'
    )
