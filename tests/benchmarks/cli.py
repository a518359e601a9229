# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks, print the table, write build/bench.json."""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from guestagent import imports

imports.refuse('eventlet')

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)

import oslo_messaging  # noqa: E402

from devstack import processes  # noqa: E402
from tests.benchmarks import (  # noqa: E402
    bed,
    environments,
    pipelined,
    registry,
    report,
)

LOG = logging.getLogger(__name__)

FAILURES = (
    environments.BadEnvironment,
    oslo_messaging.MessagingException,
    pipelined.ClientError,
    processes.Failed,
)

OUTPUT = environments.ROOT / 'build' / 'bench.json'
SHOWN = (
    'guestagent',
    'oslo.messaging',
    'oslo.config',
    'oslo.service',
    'kombu',
    'amqp',
    'stevedore',
    'eventlet',
)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code.

    0: everything was measured, whatever the verdicts.  1: something could not be.
    2: no benchmark has the name that was asked for.
    """
    options = _parse(argv)
    logging.basicConfig(
        level=logging.INFO, format='%(relativeCreated)7d ms  %(message)s'
    )
    for name in ('alembic', 'amqp', 'oslo', 'oslo_messaging'):
        logging.getLogger(name).setLevel(logging.ERROR)
    benchmarks = registry.load()
    if options.only:
        benchmarks = [each for each in benchmarks if each.answers_to(options.only)]
    if options.list or not benchmarks:
        return _list_names(options.only)
    try:
        with _alone():
            rows, failures = _measure(benchmarks, options.quick)
    except FAILURES as error:
        print(f'bench: {error}', file=sys.stderr)
        return 1
    if options.only:
        rows = [row for row in rows if row.name in registry.row_names(options.only)]
    OUTPUT.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + '\n')
    print(report.table(rows))
    print(f'\n{_load()}; written to {OUTPUT.relative_to(environments.ROOT)}')
    for failure in failures:
        print(f'bench: {failure}', file=sys.stderr)
    return 1 if failures else 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no two runs measure each other, or take the other's environments away."""
    environments.FOLDER.mkdir(parents=True, exist_ok=True)
    with (environments.FOLDER / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise processes.Failed(
                'another run is measuring; wait for its end'
            ) from None
        yield


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bench', description=__doc__)
    parser.add_argument(
        '--only',
        metavar='NAME',
        default='',
        help='measure only this row, as "start" or "start-A"',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='one round: shows that all works, not the figures',
    )
    parser.add_argument('--list', action='store_true', help='print the names')
    return parser.parse_args(argv)


def _list_names(wrong: str) -> int:
    names = [name for each in registry.load() for name in each.names]
    if wrong:
        print(
            f'bench: no row is named {wrong!r}; there are: {", ".join(names)}',
            file=sys.stderr,
        )
        return 2
    print('\n'.join(names))
    return 0


def _measure(
    benchmarks: list[registry.Benchmark], quick: bool
) -> tuple[list[report.Row], list[str]]:
    """Return the rows, and what went wrong with those that are not there."""
    venvs = {
        bed.OURS: environments.ours(),
        **{kind: environments.peer(kind) for kind in bed.PEERS},
    }
    rows: list[report.Row] = []
    failures: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder,
        bed.Bed(pathlib.Path(folder), venvs, quick) as ground,
    ):
        print(_surroundings(venvs, ground), flush=True)
        for each in benchmarks:
            names = ', '.join(each.names)
            LOG.info('measuring %s', names)
            started = time.monotonic()
            try:
                rows += each.function(ground)
                ground.stop_servers()
            except FAILURES as error:
                LOG.error('  not measured')
                failures.append(f'{names}: {error}')
                ground.kill_servers()
            LOG.info('  took %.0f s', time.monotonic() - started)
    return rows, failures


def _surroundings(
    venvs: Mapping[str, environments.Environment], ground: bed.Bed
) -> str:
    """Return what the figures depend on, for whoever compares two runs."""
    lines = [
        f'{platform.platform()}, {os.cpu_count()} processors, {_load()}',
        f'Python {platform.python_version()}, '
        f'RabbitMQ {ground.broker.ctl("version").strip()}',
    ]
    for kind, venv in venvs.items():
        known = [
            f'{name} {venv.versions[name]}' for name in SHOWN if name in venv.versions
        ]
        lines.append(f'{kind}: {", ".join(known)}')
    return '\n'.join(lines) + '\n'


def _load() -> str:
    return 'load {:.2f} {:.2f} {:.2f}'.format(*os.getloadavg())
