# SPDX-License-Identifier: Apache-2.0
"""The life of a server under Trove: stopped, changed, backed up, replicated, cut off.

The tests of a guest share its server: each leaves it running and serving.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable

import pytest

from devstack import certificates
from tests.interop.trove import backups, guests, plane

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

NewGuest = Callable[..., guests.Guest]


def test_stop_and_start(guest: guests.Guest) -> None:
    guest.call('stop_db')
    guest.wait_status('shutdown')
    guest.call(
        'start_db_with_conf_changes',
        config_contents='[mysqld]\nwait_timeout = 4321\n',
        ds_version='10.11',
    )
    guest.wait_status('healthy')
    assert guest.query('select @@wait_timeout') == ['4321']

    contents = '[mysqld]\nwait_timeout = 1234\n'
    guest.call('reset_configuration', configuration={'config_contents': contents})
    guest.call('restart')
    assert guest.query('select @@wait_timeout') == ['1234']


def test_a_new_guest_goes_on_with_the_volume(guest: guests.Guest) -> None:
    saved = guest.call('pre_upgrade')
    guest.wait_status('shutdown')
    guest.call('post_upgrade', upgrade_info=saved)
    guest.wait_status('healthy')

    guest.call('stop_db')
    guest.wait_status('shutdown')
    guest.cast('rebuild', ds_version='10.11', config_contents='', config_overrides={})
    guest.wait_status('healthy')
    assert guest.query("show databases like 'shop'")


def test_an_upgrade_that_cannot_be_leaves_the_server_serving(
    guest: guests.Guest,
) -> None:
    pid = guest.folder / 'run' / 'pid'
    before = pid.read_text()
    # What apt would change is this machine's.
    guest.cast('upgrade', upgrade_info={'packages': ['no package']})
    guest.wait(lambda: pid.exists() and pid.read_text() != before, 'another process')
    guest.wait_status('healthy')


def test_volumes(guest: guests.Guest) -> None:
    place = {'device_path': '/dev/none', 'mount_point': str(guest.folder / 'volume')}
    with pytest.raises(plane.Failed, match='stop it first'):
        guest.call('mount_volume', **place)
    with pytest.raises(plane.Failed, match='/dev/none'):
        guest.call('resize_fs', online=True, **place)
    guest.call('stop_db')
    with pytest.raises(plane.Failed, match='/dev/none'):
        guest.call('mount_volume', **place)
    # Nothing is mounted there, as it is wanted.
    guest.call('unmount_volume', **place)
    guest.call('restart')


def test_a_backup_is_restored_into_a_replica(
    guest: guests.Guest, new_guest: NewGuest
) -> None:
    guest.query('create table shop.t (n int)')
    guest.query('insert into shop.t values (1)')
    assert guest.call('backup_required_for_replication') is True
    backup = backups.add(guest)
    wanted = backups.info(guest, backup)
    snapshot = guest.call('get_replication_snapshot', snapshot_info=wanted)
    row = backups.wait(guest, backup)
    assert (row.state, row.kind) == ('COMPLETED', 'full')
    assert row.size > 0

    replica = new_guest(guest.secure, swift=guest.swift)
    replica.prepare(
        snapshot={**snapshot, 'config': None},
        backup_info=backups.restored_from(guest, row),
    )
    replica.start()
    replica.wait_status('healthy')
    guest.query('insert into shop.t values (2)')
    replica.call('wait_for_txn', txn=guest.call('get_latest_txn_id'))
    assert replica.query('select n from shop.t order by n') == ['1', '2']
    assert replica.call('get_last_txn')[1] == guest.call('get_last_txn')[1]
    assert guest.call('get_txn_count') > 0

    found = replica.call('detach_replica', for_failover=False)
    guest.call('cleanup_source_on_replica_detach', replica_info=found)
    again = guest.call('get_replica_context')
    replica.call('attach_replica', replica_info=again, slave_config=None)
    replica.call('detach_replica', for_failover=True)
    again = guest.call('get_replica_context')
    replica.cast('attach_replication_slave', snapshot=again, replica_config=None)
    guest.query('insert into shop.t values (3)')
    replica.wait(lambda: '3' in replica.query('select n from shop.t'), 'the row')

    guest.call('make_read_only', read_only=True)
    assert guest.query('select @@read_only') == ['1']
    guest.call('make_read_only', read_only=False)
    guest.call('demote_replication_master')
    guest.call('enable_as_master', replica_source_config=None)
    guest.call('make_read_only', read_only=False)


def test_a_backup_that_fails_is_failed(guest: guests.Guest) -> None:
    parent = backups.Row('', '', f'{guest.storage}:///no/where', 'x', None, None)
    assert backups.wait(guest, backups.begin(guest, parent)).state == 'FAILED'


def test_a_snapshot_of_no_volume_is_refused(guest: guests.Guest) -> None:
    # Nothing is mounted there: what would be frozen is the whole machine.
    for method in ('pre_create_backup', 'post_create_backup'):
        with pytest.raises(plane.Failed):
            guest.call(method)
    guest.query('create table shop.after (n int)')


def test_tls(guest: guests.Guest, tmp_path: pathlib.Path) -> None:
    assert guest.call('ssl_show') == {'status': 'off'}
    authority = certificates.Authority(tmp_path)
    made = authority.issue('db', names=('localhost',))
    container = {
        'certificate': made.certificate.read_text(),
        'private_key': made.key.read_text(),
        'ca': authority.certificate.read_text(),
    }
    action = {'mode': 'basic', 'container': container, 'disable': False}
    if guest.call('ssl_action', enable=True, **action)['restart_required']:
        guest.wait_status('restart required')
        guest.call('restart')
    shown = guest.call('ssl_show')
    assert (shown['status'], shown['mode']) == ('on', 'basic')
    assert shown['certificate']['cn'] == 'db'
    assert shown['certificate']['san'] == ['DNS:localhost']
    back = guest.call('ssl_rollback')
    assert (back['status'], back['mode']) == ('off', None)
    if back['restart_required']:
        guest.call('restart')
    assert guest.call('ssl_show') == {'status': 'off'}


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_the_conductor_and_the_broker_go_and_come(guest: guests.Guest) -> None:
    guest.plane.conductor.stop()
    guest.call('stop_db')
    guest.plane.rabbit.ctl('close_all_connections', 'test')
    guest.plane.restart_conductor()
    guest.wait_status('shutdown')
    guest.call('restart')
    guest.wait_status('healthy')


def wait_begun(guest: guests.Guest, what: str) -> None:
    """Wait until the agent has noted that it is at this."""

    def begun() -> bool:
        found = guest.state().get('begun', {})
        return any(work['what'] == what for work in found.values())

    guest.wait(begun, f'{what} begins')


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_a_backup_that_a_crash_cuts_short_is_failed(guest: guests.Guest) -> None:
    backup = backups.begin(guest)
    wait_begun(guest, backup)
    guest.kill()
    guest.start()
    assert backups.wait(guest, backup).state == 'FAILED'
    guest.wait_status('healthy')


def test_a_prepare_that_a_crash_cuts_short_is_failed(new_guest: NewGuest) -> None:
    guest = new_guest()
    guest.prepare()
    guest.start()
    wait_begun(guest, 'prepare')
    guest.kill()
    guest.start()
    guest.wait_status('failed to spawn')
    guest.wait(
        lambda: guest.plane.rows(
            'select 1 from instance_faults where instance_id = %s', guest.id
        ),
        'the fault',
    )


def test_postgresql(new_guest: NewGuest) -> None:
    guest = new_guest(manager='postgresql', version='15')
    anna = {
        '_name': 'anna',
        '_password': 'hunter2-anna',
        '_databases': [{'_name': 'shop'}],
    }
    guest.prepare(databases=[{'_name': 'shop'}], users=[anna])
    guest.start()
    guest.wait_status('healthy')

    def login(name: str, password: str) -> bool:
        place = f'postgresql://{name}@127.0.0.1:{guest.port}/shop'
        done = subprocess.run(
            ['psql', '--no-psqlrc', '--command=select 1', place],
            env={**os.environ, 'PGPASSWORD': password},
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    guest.wait(lambda: login('anna', 'hunter2-anna'), 'the user')
    [databases, marker] = guest.call('list_databases')
    assert ([one['_name'] for one in databases], marker) == (['shop'], None)
    root = guest.call('enable_root')
    assert login(root['_name'], root['_password'])
    guest.call('disable_root')
    assert guest.call('is_root_enabled') is False
    assert backups.wait(guest, backups.begin(guest)).state == 'COMPLETED'
