# SPDX-License-Identifier: Apache-2.0
"""The commands of the extension on PostgreSQL, from nothing to a second server."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from devstack import processes

PASSWORD = 'hunter2 of ann'


def _ask(port: int, statement: str) -> list[Any]:
    connection = psycopg2.connect(
        host='127.0.0.1', port=port, user='ann', password=PASSWORD, dbname='shop'
    )
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def _be_busy(port: int) -> None:
    """Have the server count for minutes; ends when it is killed."""
    loop = 'FOR i IN 1..2000000000 LOOP END LOOP'
    with pytest.raises(psycopg2.OperationalError):
        _ask(port, f'DO $$ BEGIN {loop}; END $$')


def test_a_server_its_backups_and_its_replica(
    new_guest: Callable[[str], Any], tmp_path: pathlib.Path
) -> None:
    first = new_guest('postgresql')
    first.stop()
    tmp_path.chmod(0o700)
    first.options['backup_folder'] = str(tmp_path)
    first.start()
    status = first.call(
        'prepare',
        memory=64,
        overrides={'max_connections': 40},
        databases=[{'name': 'shop'}],
        users=[{'name': 'ann', 'password': PASSWORD, 'databases': ['shop']}],
    )
    assert (status['state'], status['engine']) == ('healthy', 'postgresql')
    assert _ask(first.port, 'SHOW max_connections') == [('40',)]
    _ask(first.port, 'CREATE TABLE goods AS SELECT 1 AS number')

    full = first.call('backup_create', backup_id='full', storage='file')
    _ask(first.port, 'INSERT INTO goods VALUES (2)')
    part = first.call('backup_create', backup_id='part', storage='file', parent=full)
    _ask(first.port, 'INSERT INTO goods VALUES (3)')

    second = new_guest('postgresql')
    assert second.call('replication_needs_backup') == {'required': False}
    account = first.call('replication_account')
    second.call('prepare', memory=64, source={**account, 'host': '127.0.0.1'})
    position = first.call('transaction_position')['position']
    second.call('transaction_wait', position=position, seconds=60)
    assert _ask(second.port, 'SELECT count(*) FROM goods') == [(3,)]
    with pytest.raises(psycopg2.Error, match='read-only'):
        _ask(second.port, 'INSERT INTO goods VALUES (4)')
    info = second.call('replication_promote')
    first.call('replication_cleanup', info=info)
    _ask(second.port, 'INSERT INTO goods VALUES (4)')
    assert second.call('replication_show')['role'] == 'source'

    first.call(
        'backup_restore',
        location=part['location'],
        checksum=part['checksum'],
        storage='file',
    )
    assert first.call('status')['state'] == 'healthy'
    assert _ask(first.port, 'SELECT count(*) FROM goods') == [(2,)]
    _ask(first.port, 'INSERT INTO goods VALUES (5)')


def test_a_crash_and_a_guest_made_anew(new_guest: Callable[[str], Any]) -> None:
    guest = new_guest('postgresql')
    guest.call(
        'prepare',
        memory=64,
        overrides={'work_mem': '7MB'},
        databases=[{'name': 'shop'}],
        users=[{'name': 'ann', 'password': PASSWORD, 'databases': ['shop']}],
    )
    _ask(guest.port, 'CREATE TABLE goods AS SELECT 1 AS number')
    # The process of a client that is busy outlives the server's first one.
    thread = threading.Thread(target=_be_busy, args=(guest.port,))
    thread.start()
    processes.wait_for(
        lambda: guest.query(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'ann' AND state = 'active'"
        ),
        'a busy client',
    )
    pid = guest.call('status')['pid']
    os.kill(pid, signal.SIGKILL)
    processes.wait_for(
        lambda: (
            guest.call('status')['state'] == 'healthy'
            and guest.call('status')['pid'] != pid
        ),
        'it is started again',
        60,
    )
    thread.join(60)
    assert not thread.is_alive()
    assert _ask(guest.port, 'SELECT number FROM goods') == [(1,)]

    guest.call('server_stop')
    for path in (guest.folder / 'config').iterdir():
        path.unlink()
    guest.call('rebuild')
    assert guest.call('status')['state'] == 'healthy'
    assert _ask(guest.port, 'SHOW work_mem') == [('7MB',)]
    assert _ask(guest.port, 'SHOW shared_buffers') == [('16MB',)]
