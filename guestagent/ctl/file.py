# SPDX-License-Identifier: Apache-2.0
"""``guestctl file``: the files of a guest, and files carried to it and from it."""

import argparse
import datetime
import os
import stat
import time
from collections.abc import Iterator, Sequence
from typing import Any

from guestagent.ctl import base, progress


class _FileCommand(base.GuestCommand):
    """A command about one path."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser that takes the guest and the path."""
        parser = super().get_parser(prog_name)
        parser.add_argument('path', metavar='PATH', help='the full path in the guest')
        return parser

    def ask(self, parsed_args: argparse.Namespace, verb: str, **arguments: Any) -> Any:
        """Return what ``file.<verb>`` answers for the path."""
        parsed_args.command = f'file.{verb}'
        arguments = {'path': parsed_args.path, **arguments}
        return self.call(parsed_args, parsed_args.command, arguments)


class FileList(_FileCommand, base.Lister):
    """List what is in a folder of a guest."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterator[list[Any]]]:
        """Ask page by page, and return the rows."""
        raw = parsed_args.formatter in ('json', 'yaml')
        columns = ['name', 'type', 'permissions', 'user', 'group', 'size', 'modified']

        def entries() -> Iterator[dict[str, Any]]:
            page = {'next': ''}
            while page['next'] is not None:
                page = self.ask(parsed_args, 'list', after=page['next'])
                for entry in page['entries']:
                    yield entry if raw else _for_people(entry)

        return self.table(columns, entries(), parsed_args)


class FileStat(_FileCommand, base.ShowOne):
    """Show what there is to know of a file in a guest; a link is not followed."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Ask, and return the fields."""
        found = self.ask(parsed_args, 'stat', follow=False)
        raw = parsed_args.formatter in ('json', 'yaml')
        return self.fields(found if raw else _for_people(found), parsed_args)


class FileChecksum(_FileCommand):
    """Print the checksum of a file in a guest, as sha256sum does."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--algorithm',
            choices=['sha256', 'sha512', 'sha1', 'md5', 'blake2b'],
            default='sha256',
            help='default: sha256',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask, and print."""
        found = self.ask(parsed_args, 'checksum', algorithm=parsed_args.algorithm)
        self.app.stdout.write(
            f'{found["checksum"]}  {base.printable(parsed_args.path)}\n'
        )


class FileRemove(_FileCommand):
    """Remove a file, a link or an empty folder in a guest."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--recursive', action='store_true', help='a folder with all that is in it'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it removed."""
        self.ask(parsed_args, 'remove', recursive=parsed_args.recursive)


class FileMkdir(_FileCommand):
    """Make a folder in a guest."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--parents',
            action='store_true',
            help='those above, too; it may be there already',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it made."""
        self.ask(parsed_args, 'mkdir', parents=parsed_args.parents)


class FileRename(_FileCommand):
    """Give a file or folder of a guest another path."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('target', metavar='TARGET', help='the new path')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it renamed."""
        self.ask(parsed_args, 'rename', target=parsed_args.target)


class FileChmod(_FileCommand):
    """Set the permissions of a file or folder in a guest."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'permissions', metavar='MODE', type=_octal, help='as 644 or 0755'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have them set."""
        self.ask(parsed_args, 'chmod', permissions=parsed_args.permissions)


class FileChown(_FileCommand):
    """Set the owner of a file or folder in a guest."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        _add_owner(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it set."""
        owner = _owner(parsed_args)
        if not owner:
            self.usage_error('give --user, --group or both')
        self.ask(parsed_args, 'chown', **owner)


class _Carry(base.GuestCommand):
    """Carries files and folders, and tells how far it is."""

    def carry(self, parsed_args: argparse.Namespace, verb: str) -> None:
        """Carry what the arguments name.

        :param verb: ``pull`` or ``push``.
        """
        # Only who carries needs it.
        from guestagent.ctl import carrying, flow, trees

        began = time.monotonic()
        text = f'{verb}: {base.printable(parsed_args.source)}'
        guest = flow.Guest(self.client, parsed_args.instance, self.timeout)
        with flow.Flow() as threads, self.waiting(text) as sign:
            moved = _Moved(text, sign, self._size(guest, parsed_args, verb))
            carrier = carrying.Carrier(guest, threads, moved.add)
            tree = trees.Trees(carrier, self._skip)
            parsed_args.command = f'file.{verb}_begin'
            if verb == 'pull':
                tree.pull(parsed_args.source, parsed_args.target)
            else:
                tree.push(parsed_args.source, parsed_args.target, **_owner(parsed_args))
        files = 'one file' if tree.files == 1 else f'{tree.files} files'
        self.app.stdout.write(f'{files}, {moved.describe(time.monotonic() - began)}\n')

    def _size(self, guest: Any, parsed_args: argparse.Namespace, verb: str) -> int:
        """Return how many bytes will be carried; 0: nobody knows."""
        try:
            if verb == 'push':
                found = os.stat(parsed_args.source)
                return found.st_size if stat.S_ISREG(found.st_mode) else 0
        except OSError as error:
            from guestagent.ctl import flow

            raise flow.local(parsed_args.source, error) from None
        about = guest.call('stat', path=parsed_args.source)
        return int(about['size']) if about['type'] == 'file' else 0

    def _skip(self, what: str) -> None:
        self.app.LOG.warning('not carried: %s', base.printable(what))
        self.result_code = base.FAILED


class FilePull(_Carry):
    """Fetch a file, or a folder with all that is in it, from a guest.

    What was broken off goes on where it was when the same is called again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('source', metavar='PATH', help='the full path in the guest')
        parser.add_argument(
            'target',
            metavar='TARGET',
            nargs='?',
            default='.',
            help='where to, here; into it if it is a folder; default: this folder',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Fetch it."""
        self.carry(parsed_args, 'pull')


class FilePush(_Carry):
    """Bring a file, or a folder with all that is in it, to a guest.

    What was broken off goes on where it was when the same is called again soon.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('source', metavar='SOURCE', help='the path here')
        parser.add_argument(
            'target',
            metavar='PATH',
            help='the full path in the guest; into it if it is a folder',
        )
        _add_owner(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Bring it."""
        self.carry(parsed_args, 'push')


class _Moved:
    """Counts bytes, and shows them.

    :param size: how many there will be; 0: nobody knows.
    """

    def __init__(self, text: str, sign: progress.SignOfLife, size: int) -> None:
        self._text = text
        self._sign = sign
        self._size = size
        self._bytes = 0
        self._began = time.monotonic()

    def add(self, count: int) -> None:
        """Count some more, and show it."""
        self._bytes += count
        bar = ''
        if self._size:
            bar = f'{progress.bar(100 * self._bytes / self._size)} '
        about = self.describe(time.monotonic() - self._began)
        self._sign.say(f'guestctl: {bar}{self._text}: {about}')

    def describe(self, seconds: float) -> str:
        """Return how much it was, how long it took, and how quick that is."""
        text = f'{self._bytes} bytes in {seconds:.1f} s'
        if self._bytes >= 1e6:
            text += f' ({self._bytes / max(seconds, 0.001) / 1e6:.1f} MB/s)'
        return text


def _add_owner(parser: argparse.ArgumentParser) -> None:
    for name in ('user', 'group'):
        parser.add_argument(
            f'--{name}', help=f'the {name} that owns it, by name or number'
        )


def _owner(parsed_args: argparse.Namespace) -> dict[str, str | int]:
    """Return the owner that was asked for; digits are a number."""
    found = {name: getattr(parsed_args, name, None) for name in ('user', 'group')}
    return {
        name: int(text) if text.isascii() and text.isdecimal() else text
        for name, text in found.items()
        if text is not None
    }


def _octal(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o7777:
        raise argparse.ArgumentTypeError(f'{text!r} is not as 644 or 0755')
    return value


def _for_people(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with permissions in octal and times as people write them."""
    shown = {**entry, 'permissions': f'{entry["permissions"]:04o}'}
    for name in ('modified', 'changed', 'accessed'):
        shown[name] = _time(entry[name])
    if entry.get('target') is not None:
        shown['name'] = f'{entry["name"]} -> {entry["target"]}'
    return shown


def _time(nanoseconds: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')
