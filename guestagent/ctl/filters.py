# SPDX-License-Identifier: Apache-2.0
"""Options that choose among records: how many, of when, of whom."""

import argparse
import datetime
import re
import time

from guestagent.ctl import base

#: How many records are listed unless another number is given.
LIMIT = 100

_AGE = re.compile(r'(\d+(?:\.\d+)?)([smhdw])\Z')
_SECONDS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}


def moment(text: str) -> float:
    """Return a time as UNIX seconds: ISO 8601 (UTC if it names no zone), or an age.

    :raises argparse.ArgumentTypeError: ``text`` is neither.
    """
    age = _AGE.match(text)
    try:
        if age:
            return max(time.time() - float(age[1]) * _SECONDS[age[2]], 0)
        parsed = datetime.datetime.fromisoformat(text)
        return parsed.replace(tzinfo=parsed.tzinfo or datetime.UTC).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f'{text!r} is no time: write 2024-05-01T12:00:00, which is UTC, or how '
            'long ago, as 90s, 10m, 2h or 7d'
        ) from None


def add_limit(parser: argparse.ArgumentParser, default: str = str(LIMIT)) -> None:
    """Add ``--limit``; where it is not given it is ``None``."""
    parser.add_argument(
        '--limit',
        type=base.count,
        metavar='N',
        help=f'at most so many; default: {default}',
    )


def add_times(parser: argparse.ArgumentParser) -> None:
    """Add ``--since`` and ``--until``."""
    for name, meaning in (
        ('since', 'received then or later: a time, or how long ago, as 10m or 2h'),
        ('until', 'received before that'),
    ):
        parser.add_argument(
            f'--{name}', type=moment, metavar='TIME', help=f'only those {meaning}'
        )


def add_caller(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--of``, the caller of a command."""
    parser.add_argument(
        '--of', metavar='CALLER', help=f'the caller who sent it; default: {default}'
    )
