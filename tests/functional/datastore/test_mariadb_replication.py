# SPDX-License-Identifier: Apache-2.0
"""Replication between two real MariaDB servers."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_datastore import certificates, programs

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


@pytest.fixture(scope='module')
def replica() -> Iterator[guests.Guest]:
    """A second guest, with no server."""
    guest = guests.make_guest('mariadb')
    yield guest
    guest.remove()


def rows(guest: guests.Guest) -> list[int]:
    return [number for (number,) in guest.query('SELECT n FROM shop.numbers')]


def copy(source: guests.Guest, replica: guests.Guest, work: pathlib.Path) -> None:
    """Fill the replica by a backup of the source, with no file in between."""
    assert source.made is not None
    assert replica.made is not None
    replica.made.engine.configure(memory=64)
    work.mkdir()
    staging = replica.folder / 'volume' / 'restore'
    staging.mkdir()
    with (
        source.made.engine.backup(None, work) as backup,
        replica.made.engine.restore(staging) as restore,
    ):
        command = restore.part({})
        with (
            subprocess.Popen(
                backup.command.argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=programs.environment(backup.command),
            ) as writer,
            subprocess.Popen(
                command.argv,
                stdin=writer.stdout,
                env=programs.environment(command),
                **programs.account(command),
            ) as reader,
        ):
            assert (writer.wait(60), reader.wait(60)) == (0, 0)
        assert backup.metadata()['gtid']
        restore.part_done()
        restore.finish()


def attach(replica: guests.Guest, source: guests.Guest) -> dict[str, Any]:
    account = source.call('replication_account')
    for name in ('general', 'slow_query'):
        replica.call('log_enable', name=name)
    replica.call('config_set', overrides={'long_query_time': 0})
    shown: dict[str, Any] = replica.call(
        'replication_attach', source=account | {'host': '127.0.0.1'}
    )
    for name in ('general', 'slow'):
        log = (replica.folder / 'log' / f'{name}.log').read_text()
        assert 'START SLAVE' in log or name == 'slow'
        assert account['password'] not in log
    return shown


def test_the_life_of_two_servers(
    mariadb: guests.Guest, replica: guests.Guest, tmp_path: pathlib.Path
) -> None:
    """One test: each step needs the one before."""
    first, second = mariadb, replica
    assert first.call('replication_show')['role'] == 'single'
    # Without global transaction ids there is an answer, too.
    assert first.call('transaction_last')['number'] == 0
    first.query('CREATE DATABASE shop')
    first.query('CREATE TABLE shop.numbers (n INT PRIMARY KEY)')
    first.query('INSERT INTO shop.numbers VALUES (1)')
    with pytest.raises(errors.GuestError, match='no replica'):
        first.call('replication_detach')

    # Attach.
    assert first.call('replication_enable')['role'] == 'source'
    first.query('INSERT INTO shop.numbers VALUES (2)')
    first.call('tls_enable', required=True)
    copy(first, second, tmp_path / 'work')
    second.call('server_start')
    first.query('INSERT INTO shop.numbers VALUES (3)')
    # One that says it is the source, but has another certificate, is not followed.
    account = first.call('replication_account')
    assert account['ca'] == first.call('tls_show')['certificate']
    stranger = account | {'host': '127.0.0.1', 'ca': certificates.make().certificate}
    with pytest.raises(errors.GuestError, match='SSL connection error'):
        second.call('replication_attach', source=stranger)
    shown = attach(second, first)
    assert (shown['role'], shown['running'], shown['read_only']) == (
        'replica',
        True,
        True,
    )
    assert shown['source'] == f'127.0.0.1:{first.port}'
    position = first.call('transaction_position')['position']
    second.call('transaction_wait', position=position, seconds=60)
    assert rows(second) == [1, 2, 3]
    assert second.call('transaction_last') == first.call('transaction_last')
    # It is reckoned from when it last had nothing to do.
    processes.wait_for(
        lambda: second.call('replication_show')['lag'] == 0, 'it has caught up'
    )
    assert first.call('replication_show')['replicas'] == 1
    assert first.call('user_list')['items'] == []

    # It goes on after a restart, and still takes no writes.
    second.call('server_restart')
    processes.wait_for(
        lambda: second.call('replication_show')['running'], 'the replica runs', 60
    )
    assert second.call('replication_show')['read_only'] is True

    # What has not come yet is waited for in vain.
    later = position.rpartition('-')[0] + '-999999'
    with pytest.raises(errors.CommandTimeout):
        second.call('transaction_wait', position=later, seconds=0.2)

    # Change places.
    first.call('read_only', read_only=True)
    position = first.call('transaction_position')['position']
    second.call('transaction_wait', position=position, seconds=60)
    info = second.call('replication_promote')
    assert second.call('replication_show')['role'] == 'source'
    second.query('INSERT INTO shop.numbers VALUES (4)')
    first.call('replication_cleanup', info=info)
    attach(first, second)
    first.call('replication_demote')
    position = second.call('transaction_position')['position']
    first.call('transaction_wait', position=position, seconds=60)
    assert rows(first) == [1, 2, 3, 4]
    shown = first.call('replication_show')
    assert (shown['role'], shown['read_only']) == ('replica', True)

    # Detach: both take writes again, and nothing is left of the replica.
    info = first.call('replication_detach', for_failover=True)
    second.call('replication_cleanup', info=info)
    assert second.query(
        "SELECT User FROM mysql.user WHERE User LIKE 'guestagent%%'"
    ) in ([], ())
    assert first.call('replication_show')['read_only'] is False
    first.query('INSERT INTO shop.numbers VALUES (5)')


def test_a_source_that_refuses_is_told_and_the_server_stays_as_it_was(
    mariadb: guests.Guest,
) -> None:
    source = {
        'host': '127.0.0.1',
        'port': mariadb.port,
        'user': 'nobody',
        'password': 'hunter2',
    }
    with pytest.raises(errors.GuestError, match='Access denied') as caught:
        mariadb.call('replication_attach', source=source)
    assert 'hunter2' not in str(caught.value)
    shown = mariadb.call('replication_show')
    assert (shown['role'], shown['read_only']) == ('source', False)


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ({}, 'host is missing'),
        ({'host': '', 'port': 1, 'user': 'a', 'password': 'b'}, 'must not be empty'),
        ({'host': 'a', 'port': 'x', 'user': 'a', 'password': 'b'}, 'port is missing'),
        (
            {'host': 'a', 'port': 1, 'user': 'a', 'password': 'b', 'position': "'"},
            'is no GTID',
        ),
        (
            {'host': 'a', 'port': 1, 'user': 'a', 'password': 'b', 'ca': 'nonsense'},
            'ca is no certificate',
        ),
    ],
)
def test_what_is_no_source_is_refused(
    mariadb: guests.Guest, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        mariadb.call('replication_attach', source=source)
