# SPDX-License-Identifier: Apache-2.0
"""The program ``guestagent-qga``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from guestagent_qga.standalone import options as choices
from guestagent_qga.standalone import service
from guestagent_qga.transports import opening

LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit code."""
    try:
        options = choices.load(sys.argv[1:] if argv is None else argv, os.environ)
    except choices.UsageError as error:
        sys.stderr.write(f'{sys.argv[0]}: {error}\n')
        print(f"Unknown option, try '{sys.argv[0]} --help' for more information.")
        return 1
    except OSError as error:
        sys.stderr.write(f'{sys.argv[0]}: {error.filename}: {error.strerror}\n')
        return 1
    if options.actions:
        return _act(options)
    try:
        return _serve(options)
    except choices.UsageError as error:
        LOG.critical('%s', error)
    except OSError as error:
        LOG.critical('%s: %s', error.filename or 'error', error.strerror or error)
    return 1


def _act(options: choices.Options) -> int:
    """Do what was asked for in the place of serving; the first counts."""
    action = options.actions[0]
    if action == 'help':
        text = choices.usage()
    elif action == 'version':
        text = f'QEMU Guest Agent {options.text("qga-version") or choices.VERSION}\n'
    elif action == 'commands':
        text = choices.commands()
    elif options.text('path') or options.text('method') not in opening.METHODS:
        text = options.dump()
    else:
        sys.stderr.write(f'{sys.argv[0]}: must specify a path for this channel\n')
        return 1
    sys.stdout.write(text)
    return 0


def _serve(options: choices.Options) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(
        logging.DEBUG if options.switch('verbose') else logging.WARNING
    )
    # A module may be loaded while the disk is frozen, and to keep its bytecode would
    # wait for the thaw.
    sys.dont_write_bytecode = True
    made = service.Service(options)
    handler.addFilter(lambda _record: not made.guest.frozen)
    made.listen()
    pidfile = None
    if options.switch('daemon'):
        from guestagent_qga.standalone import daemon  # under systemd nobody wants one

        daemon.detach()
        pidfile = daemon.PidFile(options.text('pidfile'))
    if options.text('logfile'):
        _log_to(options.text('logfile'), handler)
    made.run()
    if pidfile is not None:
        pidfile.remove()
    return made.code


def _log_to(path: str, handler: logging.StreamHandler[TextIO]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    handler.setStream(os.fdopen(descriptor, 'a', encoding='utf-8'))


class _Formatter(logging.Formatter):
    """Lines as those of qemu-ga."""

    def format(self, record: logging.LogRecord) -> str:
        text = f'{record.created:f}: {record.levelname.lower()}: {record.getMessage()}'
        if record.exc_info and record.exc_info[0] is not None:
            text += f'\n{self.formatException(record.exc_info)}'
        return text
