# SPDX-License-Identifier: Apache-2.0
"""``guestctl instance``: which guests there are, and how they are."""

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from guestagent import diagnosis, errors
from guestagent.ctl import base
from guestagent.enroll import operator


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
        parser.add_argument(
            '--name',
            metavar='PATTERN',
            help='only those whose id is so; * is any text, ? one character',
        )
        parser.add_argument(
            '--extension', metavar='NAME', help='only those that have this extension'
        )
        parser.add_argument(
            '--agent-version',
            metavar='VERSION',
            help='only those whose agent has this version, as 0.1.0',
        )
        parser.add_argument(
            '--conflict',
            action='store_true',
            help='only those whose id two agents have',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Any]]:
        """Return the table; of a conflict only its begin where people read."""
        records = self.client.conductor.instances(
            parsed_args.state,
            name=parsed_args.name,
            extension=parsed_args.extension,
            agent_version=parsed_args.agent_version,
            conflict=parsed_args.conflict or None,
        )
        if parsed_args.formatter not in ('json', 'yaml'):
            records = map(_without_details, records)
        columns = ('id', 'state', 'agent_version', 'last_seen', 'extensions')
        return self.table((*columns, 'conflict'), records, parsed_args)


def _without_details(record: dict[str, Any]) -> dict[str, Any]:
    conflict = record.get('conflict')
    return {**record, 'conflict': conflict and f'since {conflict["since"]}'}


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


class InstanceDiagnose(base.GuestCommand):
    """Ask a guest's agent for all that it knows of itself.

    Its threads and what they are at, the commands in flight, the reports that wait, the
    bus, and each extension.  It answers when all its workers are busy, too.
    """

    asks = 'agent.diagnose'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '-f',
            '--format',
            choices=['json', 'text'],
            default='text',
            help='how; default: text',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask, and print."""
        found = self.call(parsed_args, self.asks)
        if parsed_args.format == 'json':
            text = json.dumps(found, indent=2, ensure_ascii=False)
        else:
            text = '\n'.join(
                base.cell(line, raw=False) for line in diagnosis.lines(found)
            )
        self.app.stdout.write(f'{text}\n')


class InstanceDelete(base.Command):
    """Have the conductor forget an instance, with its facts, outcomes and events.

    The guest itself is not touched.  One that is UP is refused without --force: its
    agent would report again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            '--force', action='store_true', help='even if the instance is UP'
        )
        parser.add_argument(
            '-y', '--yes', action='store_true', help='do not ask whether you are sure'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask, and delete."""
        instance = parsed_args.instance
        if not parsed_args.yes and self.app.stdin.isatty():
            record = self.client.conductor.instance_show(instance)
            self.app.stderr.write(
                f'Forget {instance}, which is {record["state"]}, and all that was '
                'recorded of it? [y/N] '
            )
            self.app.stderr.flush()
            if self.app.stdin.readline().strip().lower() not in ('y', 'yes'):
                self.app.LOG.error('nothing was deleted')
                self.result_code = base.FAILED
                return
        with self.waiting(f'deleting {instance}'):
            deleted = self._delete(instance, parsed_args.force)
        self.app.stdout.write(f'deleted {instance}, which was {deleted["state"]}\n')

    def _delete(self, instance: str, force: bool) -> dict[str, Any]:
        """Tell the conductor: as an operator, where there are its keys."""
        from guestagent.ctl import session

        conductor = self.client.conductor
        files = session.own(self.app.options).enroll.key_files
        if not files:
            return conductor.instance_delete(instance, force)
        from guestagent import keyfile
        from guestagent.ctl import enroller

        lines = [line for path in files for line in keyfile.read(path, '')]
        told = enroller.Operator(lines, conductor.operate)
        return told.tell(operator.DELETE, instance, force=force)

    def explain(
        self, error: errors.GuestAgentError, parsed_args: argparse.Namespace
    ) -> str:
        """Say which option forces it."""
        if type(error) is errors.Refused:
            return f'{error} with --force'
        return super().explain(error, parsed_args)
