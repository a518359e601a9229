# SPDX-License-Identifier: Apache-2.0
"""Backups of a real MariaDB server by the commands that the engine gives."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Any

import pytest
from guestagent_datastore import models, programs

from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


def run(command: models.Command, **streams: Any) -> None:
    """Run a command of the engine with a stream."""
    done = subprocess.run(
        command.argv,
        cwd=command.folder,
        env=programs.environment(command),
        stderr=subprocess.PIPE,
        check=False,
        **programs.account(command),
        **streams,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def back_up(
    guest: guests.Guest, parent: dict[str, str] | None, path: pathlib.Path
) -> dict[str, str]:
    """Make a backup into a file and return its metadata."""
    work = path.with_suffix('.work')
    work.mkdir()
    assert guest.made is not None
    with guest.made.engine.backup(parent, work) as backup, open(path, 'wb') as file:
        run(backup.command, stdout=file, stdin=subprocess.DEVNULL)
        metadata = backup.metadata()
        assert (backup.estimate > 0) == (parent is None)
    assert not any(work.iterdir())
    return metadata


def restore(guest: guests.Guest, parts: list[tuple[pathlib.Path, Any]]) -> None:
    """Replace the guest's data by these parts."""
    assert guest.made is not None
    work = guest.folder / 'volume' / 'restore'
    work.mkdir(exist_ok=True)
    with guest.made.engine.restore(work) as restoring:
        for path, metadata in parts:
            with open(path, 'rb') as file:
                run(restoring.part(metadata), stdin=file, stdout=subprocess.DEVNULL)
            restoring.part_done()
        restoring.finish()
    assert not any(work.iterdir())


def test_full_and_incremental_backups_are_restored(
    mariadb: guests.Guest, tmp_path: pathlib.Path
) -> None:
    mariadb.query('CREATE DATABASE shop')
    mariadb.query('CREATE TABLE shop.rows_ (number INT PRIMARY KEY) ENGINE=InnoDB')
    mariadb.query('INSERT INTO shop.rows_ VALUES (1)')
    full = back_up(mariadb, None, tmp_path / 'full')
    mariadb.query('INSERT INTO shop.rows_ VALUES (2)')
    first = back_up(mariadb, full, tmp_path / 'first')
    mariadb.query('INSERT INTO shop.rows_ VALUES (3)')
    back_up(mariadb, first, tmp_path / 'second')
    mariadb.query('INSERT INTO shop.rows_ VALUES (4)')
    # It is that of the last checkpoint, which the server makes when it likes.
    assert int(first['lsn']) >= int(full['lsn'])
    assert (tmp_path / 'first').stat().st_size < (tmp_path / 'full').stat().st_size

    mariadb.call('server_stop')
    assert mariadb.made is not None
    with pytest.raises(errors.GuestError, match='not empty'):
        mariadb.made.engine.restore(tmp_path)
    empty(mariadb)
    parts = [(tmp_path / name, {}) for name in ('full', 'first', 'second')]
    restore(mariadb, parts)
    assert mariadb.call('server_start')['state'] == 'healthy'
    assert mariadb.query('SELECT number FROM shop.rows_') == [(1,), (2,), (3,)]


def test_a_restore_that_was_cut_leaves_nothing(
    mariadb: guests.Guest, tmp_path: pathlib.Path
) -> None:
    back_up(mariadb, None, tmp_path / 'full')
    mariadb.call('server_stop')
    empty(mariadb)
    stream = tmp_path / 'full'
    stream.write_bytes(stream.read_bytes()[: stream.stat().st_size // 2])
    with pytest.raises((AssertionError, errors.GuestError)):
        restore(mariadb, [(stream, {})])
    assert mariadb.call('status')['state'] == 'new'
    assert not any((mariadb.folder / 'volume' / 'data').iterdir())


def test_what_is_no_parent_is_refused(
    mariadb: guests.Guest, tmp_path: pathlib.Path
) -> None:
    assert mariadb.made is not None
    with pytest.raises(errors.InvalidArgument, match='no backup of MariaDB'):
        mariadb.made.engine.backup({'lsn': '1; --help'}, tmp_path)


def empty(guest: guests.Guest) -> None:
    """Delete the data of a server that is stopped."""
    subprocess.run(['rm', '-r', guest.folder / 'volume' / 'data'], check=True)
