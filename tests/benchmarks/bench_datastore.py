# SPDX-License-Identifier: Apache-2.0
"""Backups of a database server beside what the server's own tool can do."""

import contextlib
import dataclasses
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator

from guestagent_datastore import programs

from devstack import processes
from tests.benchmarks import bed, registry, report, rounds
from tests.functional.datastore import conftest as guests

PIPED = 'piped'
#: Rows of a table, of about 1 KiB each, that become about half as large.
ROWS, QUICK_ROWS = 500_000, 50_000
#: Inserted at once.
STEP = 10_000
MIB = 1024**2


@contextlib.contextmanager
def _guest(rows: int, folder: str) -> Iterator[guests.Guest]:
    """Give a MariaDB server with data, and an agent with a folder for backups."""
    guest = guests.make_guest('mariadb')
    try:
        guest.stop()
        guest.options |= {'backup_storage': 'file', 'backup_folder': folder}
        guest.start()
        guest.call('prepare', memory=256)
        guest.query('CREATE DATABASE shop')
        words = ', '.join(['SHA2(RAND(), 512)'] * 8)
        guest.query('CREATE TABLE shop.rows_ (number INT PRIMARY KEY, text TEXT)')
        for first in range(1, rows, STEP):
            guest.query(
                f'INSERT INTO shop.rows_ SELECT seq, CONCAT({words}) '
                f'FROM shop.seq_{first}_to_{first + STEP - 1}'
            )
        yield guest
    finally:
        guest.remove()


def _ours(guest: guests.Guest) -> float:
    """Make a backup and remove it; return its speed, in MiB/s of what was read."""
    started = time.perf_counter()
    made = guest.call('backup_create', backup_id='bench')
    seconds = time.perf_counter() - started
    guest.call('backup_delete', location=made['location'])
    return made['stream_size'] / MIB / seconds


def _piped(guest: guests.Guest, size: float) -> float:
    """Run the same command into zstd and a file; return its speed likewise.

    :param size: of what it writes, in MiB.
    """
    assert guest.made is not None
    with tempfile.TemporaryDirectory(dir=guest.folder) as work:
        folder = pathlib.Path(work)
        path = guest.folder / 'piped.zst'
        inner = folder / 'work'
        inner.mkdir()
        with guest.made.engine.backup(None, inner) as backup, path.open('wb') as file:
            started = time.perf_counter()
            tool = subprocess.Popen(
                backup.command.argv,
                cwd=backup.command.folder,
                env=programs.environment(backup.command),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                **programs.account(backup.command),
            )
            level = f'-{guest.made.conf.backup_level}'
            zstd = subprocess.run(
                ['zstd', '-q', '-c', level, '-T1'], stdin=tool.stdout, stdout=file
            )
            assert tool.stdout is not None
            tool.stdout.close()
            if tool.wait() or zstd.returncode:
                raise processes.Failed('mariadb-backup or zstd failed')
            seconds = time.perf_counter() - started
        path.unlink()
    return size / seconds


@registry.benchmark('datastore-backup')
def backup(ground: bed.Bed) -> Iterator[report.Row]:
    """From the call until the backup is whole and on the disk."""
    rows = QUICK_ROWS if ground.quick else ROWS
    with (
        tempfile.TemporaryDirectory(prefix='guestagent-bench-') as folder,
        _guest(rows, folder) as guest,
    ):
        made = guest.call('backup_create', backup_id='first')
        guest.call('backup_delete', location=made['location'])
        size = made['stream_size'] / MIB

        def measure(name: str) -> float:
            return _ours(guest) if name == bed.OURS else _piped(guest, size)

        samples = rounds.sample((bed.OURS, PIPED), ground.rounds(9), measure)
    row = report.compare(
        'datastore-backup',
        PIPED,
        samples,
        'MiB/s',
        report.Target('ratio', '>=', 0.8),
        f'{size:.0f} MiB of MariaDB into a folder, beside mariadb-backup | zstd > file',
    )
    yield dataclasses.replace(row, name='datastore-backup')
