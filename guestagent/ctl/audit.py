# SPDX-License-Identifier: Apache-2.0
"""``guestctl audit verify``: whether a guest's audit log is what it was."""

import argparse
from collections.abc import Iterator
from typing import Any

from guestagent import errors
from guestagent.agent.audit import chain
from guestagent.ctl import base


class AuditVerify(base.Command):
    """See whether a guest's audit log is whole, and as the conductor was told.

    Each record must fit those before it, and at each length that the conductor was told
    of stand the record that it was told of. The exit code is 1 if that is not so.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'instance',
            metavar='INSTANCE',
            nargs='?',
            help="the guest's instance id; without it the conductor is not asked",
        )
        parser.add_argument(
            '--file',
            metavar='FILE',
            action='append',
            default=[],
            help='read the log from this file and not from the guest; once for each '
            'file: audit.log, audit.log.1, ...',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Compare, and print."""
        instance, files = parsed_args.instance, parsed_args.file
        if instance is None and not files:
            self.usage_error('name an instance, or a file with --file')
        # Before the log is read, which may grow meanwhile.
        heads = self._heads(instance) if instance is not None else []
        lines = _read(files) if files else self._ask(instance)
        with self.waiting('reading the audit log'):
            problem, text = verify(lines, heads)
        self.app.stdout.write(f'{"BROKEN" if problem else "OK"}: {text}\n')
        if problem:
            self.result_code = base.FAILED

    def _heads(self, instance: str) -> list[dict[str, Any]]:
        """Return what the conductor was told of, the oldest first."""
        conductor = self.client.conductor
        newest = conductor.instance_show(instance)
        heads = list(conductor.audit_heads(instance))
        if newest.get('audit') is not None:
            heads.append({**newest['audit'], 'received': newest['last_seen']})
        return heads

    def _ask(self, instance: str) -> Iterator[str]:
        offset = 0
        while offset is not None:
            page = self.client.call(
                instance, 'agent.audit', {'offset': offset}, timeout=self.timeout
            )
            yield from page['lines']
            offset = page['next']


def verify(lines: Iterator[str], heads: list[dict[str, Any]]) -> tuple[bool, str]:
    """Return whether something is wrong, and a sentence about it.

    :param heads: ``{length, head, received}`` of each that was told of.
    """
    told: dict[int, list[dict[str, Any]]] = {}
    for head in heads:
        told.setdefault(head['length'], []).append(head)
    first, last, known = 0, chain.Head(), 0
    try:
        for record in chain.follow(lines):
            last = record.head
            first = first or last.length
            for head in told.get(last.length, ()):
                if head['head'] != last.digest:
                    return True, (
                        f'record {last.length} is not the one that the conductor was '
                        f'told of at {head["received"]}'
                    )
                known += 1
    except chain.Broken as error:
        return True, str(error)
    longest = max(heads, key=lambda head: int(head['length']), default=None)
    if longest is not None and longest['length'] > last.length:
        return True, (
            f'the log ends with record {last.length}, and the conductor was told of '
            f'record {longest["length"]} at {longest["received"]}'
        )
    gone = f'; the first {first - 1} are gone' if first > 1 else ''
    return False, (
        f'records {first} to {last.length} fit each other, and the conductor was told '
        f'of {known} of them{gone}'
    )


def _read(paths: list[str]) -> Iterator[str]:
    """Return the lines of the files, the oldest file first.

    :raises guestagent.errors.InvalidArgument: one cannot be read.
    """
    files = []
    for path in paths:
        try:
            with open(path, encoding='utf-8', errors='surrogateescape') as file:
                lines = file.read().splitlines()
        except OSError as error:
            raise errors.InvalidArgument(f'{path}: {error.strerror}') from None
        try:
            files.append((chain.read(lines[0]).head.length, lines))
        except (IndexError, chain.Broken):
            raise errors.InvalidArgument(f'{path}: it is no audit log') from None
    for _, lines in sorted(files):
        yield from lines
