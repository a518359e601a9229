# SPDX-License-Identifier: Apache-2.0
"""The commands of the extension on PostgreSQL, from nothing to a second server."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

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
