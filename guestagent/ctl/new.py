# SPDX-License-Identifier: Apache-2.0
"""``guestctl extension new``: the files of an extension's package, with a test."""

import argparse
import keyword
import pathlib
import re

from guestagent import errors
from guestagent.ctl import base, skeleton

_NAME = re.compile(r'[a-z][a-z0-9]*([_-][a-z0-9]+)*\Z')

#: Names that the agent and the wire keep for themselves.
_RESERVED = ('agent', 'sealed')


class ExtensionNew(base.Command):
    """Write the package of a new extension, complete, with a test that passes."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='NAME', type=_name, help='the extension, as weather'
        )
        parser.add_argument(
            '--dir',
            metavar='DIR',
            type=pathlib.Path,
            default=pathlib.Path(),
            help='where to make the folder guestagent-NAME; default: here',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the files, and say what comes next."""
        folder = parsed_args.dir / f'guestagent-{parsed_args.name}'
        try:
            write(folder, parsed_args.name)
        except FileExistsError:
            raise errors.InvalidArgument(
                f'{folder} is there already; remove it, or choose another name or --dir'
            ) from None
        except OSError as error:
            raise errors.InvalidArgument(
                f'{error.filename} cannot be written: {error.strerror}'
            ) from None
        self.app.stdout.write(
            f'{folder} is ready; next:\n'
            f'  python3 -m pip install -e {folder}[test]\n'
            f'  python3 -m pytest {folder}\n'
        )


def write(folder: pathlib.Path, name: str) -> None:
    """Write the package of the extension ``name`` into a new folder.

    :raises OSError: the folder is there already, or cannot be written.
    """
    files = skeleton.files(name)
    folder.mkdir(parents=True)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding='utf-8')


def _name(text: str) -> str:
    """Return the name of an extension.

    :raises argparse.ArgumentTypeError: ``text`` cannot be one.
    """
    if not _NAME.match(text) or keyword.iskeyword(skeleton.class_name(text)):
        raise argparse.ArgumentTypeError(
            f'{text!r} cannot be the name of an extension: it is made of a-z, 0-9 and '
            f'single - or _ between them, as weather or disk-watch'
        )
    if text in _RESERVED:
        raise argparse.ArgumentTypeError(f"the name {text!r} is the agent's own")
    return text
