# SPDX-License-Identifier: Apache-2.0
"""``guestagent-conductor``: knows the state of every guest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from guestagent import imports

# Threads are what runs here.  oslo.messaging would choose eventlet wherever that is
# installed, and does so when it is first imported.
imports.refuse('eventlet')

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)

from oslo_config import cfg  # noqa: E402

import guestagent  # noqa: E402
from guestagent import errors, logs  # noqa: E402
from guestagent.conductor import rpc, service  # noqa: E402
from guestagent.conductor.db import engine  # noqa: E402
from guestagent.conf import conductor  # noqa: E402

#: Exit codes: stopped as asked; a wrong configuration; anything else.
OK, BAD_CONFIG, FAILED = 0, 2, 1

_COMMANDS = [
    cfg.BoolOpt(
        'db-sync',
        default=False,
        help='Bring the tables of the database to this version, and exit. The '
        'start does the same.',
    )
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the conductor until a signal stops it; return the exit code."""
    conf = cfg.ConfigOpts()
    conductor.register(conf)
    conf.register_cli_opts(_COMMANDS)
    rpc.set_defaults()
    try:
        conf(
            sys.argv[1:] if argv is None else argv,
            project='guestagent',
            prog='guestagent-conductor',
            version=guestagent.__version__,
            description='The conductor: takes the reports of all guests, keeps what '
            'they say in a database, and answers queries.',
            default_config_files=cfg.find_config_files('guestagent', 'conductor'),
            default_config_dirs=cfg.find_config_dirs('guestagent', 'conductor'),
        )
        _check(conf)
        logs.setup(conf)
        if conf.db_sync:
            _sync(conf)
        else:
            service.Service(conf).run()
    except (cfg.Error, errors.ConfigError) as error:
        return _complain(error, BAD_CONFIG)
    except (OSError, engine.DatabaseError) as error:
        return _complain(error, FAILED)
    return OK


def _check(conf: Any) -> None:
    """Read each option once: a wrong value is an error now, not when it is used.

    :raises cfg.Error: one is wrong.
    """
    for section, options in conductor.SECTIONS:
        for option in options:
            getattr(conf[section], option.dest)


def _sync(conf: Any) -> None:
    database = engine.Database(conf.database.connection)
    database.sync()
    database.close()


def _complain(error: Exception, code: int) -> int:
    text = ' '.join(str(error).split())
    print(f'guestagent-conductor: {text}', file=sys.stderr)
    return code


if __name__ == '__main__':
    sys.exit(main())
