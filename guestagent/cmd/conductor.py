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

from guestagent import errors, logs, memory  # noqa: E402
from guestagent.cmd import outcome  # noqa: E402
from guestagent.conductor import rpc, service  # noqa: E402
from guestagent.conductor.db import engine  # noqa: E402
from guestagent.conf import check, conductor, config  # noqa: E402

PROG = 'guestagent-conductor'

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
    conf = config.Config()
    conductor.register(conf)
    conf.register_cli_opts(_COMMANDS)
    rpc.set_defaults()
    try:
        conf.load(
            sys.argv[1:] if argv is None else argv,
            prog=PROG,
            name='conductor',
            description='The conductor: takes the reports of all guests, keeps what '
            'they say in a database, and answers queries.',
        )
        if conf.check_config:
            return outcome.report(PROG, _check(conf))
        check.enforce(check.values(conf))
        logs.setup(conf)
        if conf.seal.key_file or conf.seal.key_command:
            memory.hide()
        if conf.db_sync:
            _sync(conf)
        else:
            made = service.Service(conf)
            check.enforce(_findings(conf).problems)
            made.run()
    except (cfg.Error, errors.ConfigError) as error:
        return outcome.complain(PROG, error, outcome.BAD_CONFIG)
    except (OSError, engine.DatabaseError) as error:
        return outcome.complain(PROG, error, outcome.FAILED)
    return outcome.OK


def _check(conf: config.Config) -> check.Findings:
    """Make the conductor, which connects to nothing, and return what was wrong."""
    problem = None
    try:
        service.Service(conf)
    except errors.ConfigError as error:
        problem = str(error)
    except cfg.Error:
        pass  # a wrong value: it is found below
    found = _findings(conf)
    return (
        found
        if problem is None
        else found._replace(problems=[*found.problems, problem])
    )


def _findings(conf: config.Config) -> check.Findings:
    """Look at values and names once oslo.messaging has registered its options."""
    names = check.names(conf, others=rpc.options())
    return check.Findings([*check.values(conf), *names.problems], names.warnings)


def _sync(conf: Any) -> None:
    database = engine.Database(conf.database.connection)
    database.sync()
    database.close()


if __name__ == '__main__':
    sys.exit(main())
