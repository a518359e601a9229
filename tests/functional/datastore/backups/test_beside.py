# SPDX-License-Identifier: Apache-2.0
"""What goes on beside a backup that is being made, and what must wait for its end."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_datastore import base

from guestagent import errors
from tests.functional.datastore import conftest as guests
from tests.functional.datastore.backups import held as helds

pytestmark = pytest.mark.functional

#: A parameter that each server takes while it runs.
DYNAMIC = {
    'mariadb': {'max_connections': 123},
    'postgresql': {'work_mem': '5MB'},
    'redis': {'timeout': 321},
}
USER = {'name': 'ann', 'password': 'hunter2'}


@pytest.fixture(scope='module', params=['mariadb', 'postgresql', 'redis'])
def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[guests.Guest]:
    """A guest with a server that serves, and a folder for its backups."""
    made = guests.make_guest(request.param)
    try:
        made.stop()
        made.options |= {
            'backup_storage': 'file',
            'backup_folder': str(tmp_path_factory.mktemp('share')),
            'backup_compression': 'none',
        }
        made.start()
        made.call('prepare', memory=64)
        yield made
    finally:
        made.remove()


def change_accounts(guest: guests.Guest, delete: bool = True) -> None:
    """Do with databases, users and root all that may be done."""
    guest.call('root_enable', password='hunter2')
    guest.call('root_disable')
    if guest.options['engine'] == 'redis':
        return  # it has only these
    guest.call('database_create', databases=[{'name': 'shop'}])
    guest.call('user_create', users=[{**USER, 'databases': ['shop']}])
    guest.call('user_passwords', users=[{**USER, 'password': 'hunter22'}])
    guest.call('access_revoke', name='ann', database='shop')
    guest.call('access_grant', name='ann', databases=['shop'])
    guest.call('user_update', name='ann', changes={'name': 'bob'})
    guest.call('user_delete', name='bob')
    if delete:
        guest.call('database_delete', name='shop')


def test_a_running_backup_lets_the_rest_go_on(guest: guests.Guest) -> None:
    engine = guest.options['engine']
    with helds.held(guest, 'backup_create', backup_id='long') as running:
        before = time.monotonic()
        # PostgreSQL waits for each of its processes, also one that is held here.
        change_accounts(guest, delete=engine != 'postgresql')
        applied = guest.call('config_set', overrides=DYNAMIC[engine])
        assert applied['restart_required'] == []
        guest.call('config_reset')
        assert time.monotonic() - before < 100

        status = guest.call('status')
        assert status['state'] == 'healthy'
        assert status['operation']['name'] == 'backup_create'
        assert status['backup']['backup_id'] == 'long'
        assert status['backup']['command_id'] == 'the-command'
        made = running.go()
    assert guest.call('status')['backup'] is None
    guest.call('backup_restore', location=made['location'], checksum=made['checksum'])
    assert guest.call('status')['state'] == 'healthy'


REFUSED: dict[str, dict[str, Any]] = {
    'server_restart': {},
    'server_stop': {},
    'prepare': {},
    'upgrade': {},
    'backup_create': {'backup_id': 'another'},
    'backup_restore': {'location': 'file:///nothing'},
    'volume_resize': {},
    'snapshot_begin': {},
    'replication_enable': {},
    'tls_disable': {},
}


def test_what_would_spoil_a_backup_is_refused_at_once(
    guest: guests.Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that waits is so told from a machine that is slow.
    monkeypatch.setattr(base, 'WAIT_SECONDS', 100)
    pid = guest.call('status')['pid']
    with helds.held(guest, 'backup_create', backup_id='one') as running:
        before = time.monotonic()
        for method, arguments in REFUSED.items():
            said = f'the backup one .command the-command. is being made, .*{method}'
            with pytest.raises(errors.Transient, match=said):
                guest.call(method, **arguments)
        assert time.monotonic() - before < 100, 'none has waited'
        running.go()
    assert guest.call('status')['pid'] == pid


def test_a_backup_bears_changes_at_each_of_its_moments(guest: guests.Guest) -> None:
    """The server's own locks are among them; nothing waits for ever."""
    ended = threading.Event()

    def change() -> int:
        rounds = 0
        while not ended.is_set():
            change_accounts(guest)
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        changes = pool.submit(change)
        try:
            made = [
                guest.call('backup_create', backup_id=f'moments-{n}') for n in range(3)
            ]
        finally:
            ended.set()
        assert changes.result(60) > 0
    guest.call('backup_restore', location=made[-1]['location'])
    assert guest.call('status')['state'] == 'healthy'
    # Whichever moment it was, all of it can still be changed.
    if guest.options['engine'] != 'redis':
        for user in guest.call('user_list')['items']:
            guest.call('user_delete', name=user['name'])
    change_accounts(guest)


def test_a_parameter_that_would_spoil_a_backup_waits(guest: guests.Guest) -> None:
    assert guest.made is not None
    if guest.options['engine'] != 'mariadb':
        assert not guest.made.engine.spoils_backup
        return
    size = {'innodb_log_file_size': 128 * 1024**2}
    said = 'innodb_log_file_size has to wait'
    with helds.held(guest, 'backup_create', backup_id='log') as running:
        for name in ('innodb_log_file_size', 'innodb-log-file-size'):
            with pytest.raises(errors.Transient, match=said):
                guest.call('config_set', overrides={name: 128 * 1024**2})
        # Kept for the next start, it is no harm.
        guest.call('config_set', overrides=size, apply=False)
        with pytest.raises(errors.Transient, match=said):
            guest.call('config_apply')
        with pytest.raises(errors.Transient, match=said):
            guest.call('config_reset')
        running.go()
    assert guest.call('config_reset')['applied'] == ['innodb_log_file_size']


def test_a_backup_and_a_change_are_told_when_both_were_cut_short(
    guest: guests.Guest,
) -> None:
    guest.stop()
    state = pathlib.Path(guest.options['state_folder'])
    for kind, name in (('backup', 'backup_create'), ('operation', 'user_create')):
        operation = {'name': name, 'since': 1.5, 'command_id': kind}
        (state / f'{kind}.json').write_text(json.dumps(operation))
    guest.start()
    guest.host.events.clear()
    assert guest.made is not None
    guest.made.settle()
    told = [data['operation'] for name, data in guest.host.events if 'inter' in name]
    assert told == ['backup_create', 'user_create']
    status = guest.call('status')
    assert (status['operation'], status['state']) == (None, 'healthy')
