# SPDX-License-Identifier: Apache-2.0
"""``guestagent-hub``: programs and guests of one machine, with no broker."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

import guestagent
from guestagent import errors, logs
from guestagent.bus import topics
from guestagent.hub import queues, service, sockets

PROG = 'guestagent-hub'

_MIB = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the hub until a signal stops it; return the exit code.

    0: stopped as asked; 1: it could not start or go on; 2: the command line is wrong.
    """
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options)
        logs.setup(options)
        service.Service(settings).run()
    except errors.ConfigError as error:
        return _complain(error, 2)
    except OSError as error:
        return _complain(error, 1)
    return 0


def _complain(error: Exception, code: int) -> int:
    print(f'{PROG}: {" ".join(str(error).split())}', file=sys.stderr)
    return code


def _settings(options: argparse.Namespace) -> service.Settings:
    service.check_guests(options.guest)
    group = sockets.find_group(options.group) if options.group else None
    guest_group = (
        sockets.find_group(options.guest_group) if options.guest_group else None
    )
    return service.Settings(
        folder=options.listen,
        guests=options.guest,
        group=group,
        guest_group=guest_group,
        report_topic=options.report_topic,
        body_max=options.max_message * _MIB,
        limits=queues.Limits(
            count=options.max_waiting,
            total_bytes=options.max_memory * _MIB,
            age=options.max_age,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description='Carries messages between the programs and the guests of one '
        'machine: transport_url = channel://DIR. It keeps nothing on disk.',
        epilog='For example: guestagent-hub --listen /run/user/1000/guests --guest '
        'vm-1; agents and programs then have transport_url = '
        'channel:///run/user/1000/guests.',
        allow_abbrev=False,
    )
    parser.set_defaults(log_format='%(asctime)s %(levelname)s %(name)s %(message)s')
    parser.add_argument(
        '--version', action='version', version=f'{PROG} {guestagent.__version__}'
    )
    _add_sockets(parser.add_argument_group('sockets').add_argument)
    _add_limits(parser.add_argument_group('limits').add_argument)
    _add_log(parser.add_argument_group('log').add_argument)
    return parser


def _add_sockets(add: Callable[..., argparse.Action]) -> None:
    add(
        '--listen',
        metavar='DIR',
        type=pathlib.Path,
        required=True,
        help='the folder of the sockets: DIR/programs.sock for programs and '
        'DIR/guests/<instance id>.sock for each guest. It is made if it is not there.',
    )
    add(
        '--guest',
        metavar='ID',
        action='append',
        default=[],
        help='make the socket of this guest at the start; may be repeated. Other '
        'guests get theirs when a program addresses them for the first time.',
    )
    add(
        '--group',
        metavar='NAME',
        help="let users of this group use programs.sock; otherwise only the hub's own "
        'user and root may.',
    )
    add('--guest-group', metavar='NAME', help="the same for the guests' sockets.")
    add(
        '--report-topic',
        metavar='TOPIC',
        default=topics.REPORT_TOPIC,
        help='where the reports of guests go: report_topic of the conductor '
        '(%(default)s).',
    )


def _add_limits(add: Callable[..., argparse.Action]) -> None:
    add(
        '--max-message',
        metavar='MIB',
        type=_positive,
        default=16,
        help='the largest message, in MiB (%(default)s).',
    )
    add(
        '--max-waiting',
        metavar='COUNT',
        type=_positive,
        default=1000,
        help='how many messages may wait in one queue (%(default)s).',
    )
    add(
        '--max-memory',
        metavar='MIB',
        type=_positive,
        default=512,
        help='how many MiB all messages together may take (%(default)s).',
    )
    add(
        '--max-age',
        metavar='SECONDS',
        type=_positive,
        default=3600,
        help='how long a message may wait (%(default)s).',
    )


def _add_log(add: Callable[..., argparse.Action]) -> None:
    add('--debug', action='store_true', help='log at the level DEBUG instead of INFO.')
    add('--log-file', metavar='PATH', help='write the log there.')
    add('--use-json', action='store_true', help='log one JSON object a line.')


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: it must be 1 or more')
    return number


if __name__ == '__main__':
    sys.exit(main())
