# SPDX-License-Identifier: Apache-2.0
"""How long an operator waits for a list of instances.

guestctl is that of the environment that runs the benchmarks.  The conductor is a real
one, on PostgreSQL, and the broker one with its defaults.
"""

import contextlib
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

from devstack import databases, processes, servers, stack
from guestagent.conductor import report as reports
from guestagent.conductor.db import engine, store
from tests.benchmarks import bed, registry, report, rounds

#: The targets in seconds, by how many instances there are.
TARGETS = {10: 0.6, 10_000: 1.5}

_BATCH = 500
#: Nothing else is reported, and they must not be DOWN meanwhile.
_INTERVAL = 3600


@registry.benchmark(*(f'ctl-list-{count}' for count in TARGETS))
def instance_list(ground: bed.Bed) -> Iterator[report.Row]:
    """``guestctl instance list`` from its start to its end."""
    with contextlib.ExitStack() as stopping:
        folder = pathlib.Path(stopping.enter_context(tempfile.TemporaryDirectory()))
        database = databases.PostgreSQL(folder / 'postgresql')
        stopping.callback(database.remove)
        # Not the bed's: pages of hundreds of KiB crawl through its small buffers.
        broker = servers.RabbitMQ(folder / 'rabbitmq')
        stopping.callback(broker.stop)
        urls = {}
        for count in TARGETS:
            name = f'ctl_{count}'
            connection = database.add(name)
            _fill(connection, count)
            urls[str(count)] = broker.add_vhost(name)
            (folder / name).mkdir()
            conductor = stack.Conductor(
                folder / name,
                urls[str(count)],
                {'database': {'connection': connection}},
            )
            stopping.callback(conductor.kill)
            conductor.wait_ready()
        samples = rounds.sample(
            list(urls), ground.rounds(15), lambda count: _measure(urls[count], count)
        )
    for count, target in TARGETS.items():
        yield _row(f'ctl-list-{count}', samples[str(count)], target)


def _row(name: str, seconds: Sequence[float], target: float) -> report.Row:
    """Return the row of figures that nothing is compared with."""
    return report.Row(
        name=name,
        ours=statistics.median(seconds),
        peer=0,
        unit='s',
        ratio=None,
        target=report.Target('ours', '<', target),
        note=f'no peer; PostgreSQL, a table into a file; rounds: {len(seconds)}, '
        f'{min(seconds):.3f} to {max(seconds):.3f}',
    )


def _fill(connection: str, count: int) -> None:
    """Let so many instances have reported once."""
    database = engine.Database(connection)
    database.sync()
    records = store.Store(database)
    names = [f'guest-{number:05}' for number in range(count)]
    for start in range(0, count, _BATCH):
        batch = [reports.parse(_heartbeat(name)) for name in names[start:][:_BATCH]]
        records.apply(batch, time.time())
    database.close()


def _heartbeat(name: str) -> dict[str, object]:
    extension = {
        'version': '1.0',
        'health': 'ok',
        'distribution': 'guestagent',
        'distribution_version': '0.1.0',
    }
    return {
        'instance': name,
        'kind': 'heartbeat',
        'generation': 'one',
        'sequence': 1,
        'boot_id': name,
        'sent': time.time(),
        'data': {
            'status': 'running',
            'agent_version': '0.1.0',
            'interval': _INTERVAL,
            'started': time.time(),
            'dropped': 0,
            'extensions': {'exec': extension, 'monitoring': extension},
        },
    }


def _measure(url: str, count: str) -> float:
    """Return the seconds of one run.

    :raises devstack.processes.Failed: it did not list all of them.
    """
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        done = subprocess.run(
            [stack.script('guestctl'), '--transport-url', url, 'instance', 'list'],
            stdin=subprocess.DEVNULL,
            stdout=out,
            check=False,
        )
        seconds = time.perf_counter() - start
        out.seek(0)
        listed = sum(line.startswith(b'| guest-') for line in out)
    if done.returncode or listed != int(count):
        raise processes.Failed(
            f'guestctl ended with {done.returncode}, listed {listed}'
        )
    return seconds
