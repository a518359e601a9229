# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks, print the table, write build/bench.json."""

import argparse
import json
import logging
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Mapping

from guestagent import imports

imports.refuse('eventlet')

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)

from devstack import processes  # noqa: E402
from tests.benchmarks import (  # noqa: E402
    bed,
    environments,
    pipelined,
    registry,
    report,
)

LOG = logging.getLogger(__name__)

OUTPUT = environments.ROOT / 'build' / 'bench.json'
SHOWN = ('guestagent', 'oslo.messaging', 'oslo.config', 'oslo.service', 'kombu',
         'amqp', 'stevedore', 'eventlet')


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code.

    0: everything was measured, whatever the verdicts.  1: something could not be.
    2: no benchmark has the name that was asked for.
    """
    options = _parse(argv)
    logging.basicConfig(level=logging.INFO,
                        format='%(relativeCreated)7d ms  %(message)s')
    for name in ('amqp', 'oslo', 'oslo_messaging'):
        logging.getLogger(name).setLevel(logging.ERROR)
    benchmarks = registry.load()
    if options.only:
        benchmarks = [each for each in benchmarks if each.answers_to(options.only)]
    if options.list or not benchmarks:
        return _list_names(options.only)
    try:
        rows = _measure(benchmarks, options.quick)
    except (environments.BadEnvironment, pipelined.ClientError,
            processes.Failed) as error:
        print(f'bench: {error}', file=sys.stderr)
        return 1
    rows = [row for row in rows
            if not options.only or row.name.startswith(options.only)]
    OUTPUT.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + '\n')
    print(report.table(rows))
    print(f'\n{_load()}; written to {OUTPUT.relative_to(environments.ROOT)}')
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bench', description=__doc__)
    parser.add_argument('--only', metavar='NAME', default='',
                        help='measure only this row, as "start" or "start-A"')
    parser.add_argument('--quick', action='store_true',
                        help='few rounds: shows that all works, not the figures')
    parser.add_argument('--list', action='store_true', help='print the names')
    return parser.parse_args(argv)


def _list_names(wrong: str) -> int:
    names = [name for each in registry.load() for name in each.names]
    if wrong:
        print(f'bench: no row is named {wrong!r}; there are: {", ".join(names)}',
              file=sys.stderr)
        return 2
    print('\n'.join(names))
    return 0


def _measure(benchmarks: list[registry.Benchmark], quick: bool) -> list[report.Row]:
    venvs = {bed.OURS: environments.ours(),
             **{kind: environments.peer(kind) for kind in bed.PEERS}}
    rows: list[report.Row] = []
    with tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder, \
            bed.Bed(pathlib.Path(folder), venvs, quick) as ground:
        print(_surroundings(venvs, ground))
        for each in benchmarks:
            LOG.info('measuring %s', ', '.join(each.names))
            started = time.monotonic()
            rows += each.function(ground)
            ground.stop_servers()
            LOG.info('  took %.0f s', time.monotonic() - started)
    return rows


def _surroundings(venvs: Mapping[str, environments.Environment],
                  ground: bed.Bed) -> str:
    """Return what the figures depend on, for whoever compares two runs."""
    lines = [f'{platform.platform()}, {os.cpu_count()} processors, {_load()}',
             f'Python {platform.python_version()}, '
             f'RabbitMQ {ground.broker.ctl("version").strip()}']
    for kind, venv in venvs.items():
        known = [f'{name} {venv.versions[name]}' for name in SHOWN
                 if name in venv.versions]
        lines.append(f'{kind}: {", ".join(known)}')
    return '\n'.join(lines) + '\n'


def _load() -> str:
    return 'load {:.2f} {:.2f} {:.2f}'.format(*os.getloadavg())
