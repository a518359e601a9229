# SPDX-License-Identifier: Apache-2.0
"""The life of a MariaDB server that the extension runs by itself."""

from __future__ import annotations

import os
import pathlib
import select
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
from guestagent_datastore import packages, records

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


def test_prepare_makes_a_secure_server_from_nothing(
    new_guest: Callable[[str], guests.Guest],
) -> None:
    guest = new_guest('mariadb')
    assert guest.call('status')['state'] == 'new'
    with pytest.raises(errors.GuestError, match='no data'):
        guest.call('server_start')

    status = guest.call('prepare', memory=64, config='[mysqld]\nmax_connections = 77\n')

    assert status['state'] == 'healthy'
    assert status['version'].startswith(guest.query('SELECT VERSION()')[0][0][:5])
    assert guest.query('SELECT @@max_connections') == [(77,)]
    accounts = guest.query(
        "SELECT User, Host, plugin FROM mysql.user WHERE is_role='N'"
    )
    assert sorted(accounts) == [
        ('mariadb.sys', 'localhost', 'mysql_native_password'),
        ('root', 'localhost', 'unix_socket'),
    ]
    assert os.stat(guest.folder / 'volume' / 'data').st_uid != 0 or os.geteuid() != 0


def test_bad_configuration_is_refused_and_the_old_one_stays(
    mariadb: guests.Guest,
) -> None:
    with pytest.raises(errors.InvalidArgument, match='no_such_thing'):
        mariadb.call('configure', config='[mysqld]\nno_such_thing = 1\n')
    assert mariadb.call('server_restart')['state'] == 'healthy'


def test_the_operators_text_cannot_move_the_server(mariadb: guests.Guest) -> None:
    """What the extension relies on comes last, and foreign files are not included."""
    text = (
        '[mysqld]\ndatadir=/nowhere\nsocket=/nowhere/s\n!includedir /nowhere/conf.d\n'
    )
    mariadb.call('server_start', config=text)
    mariadb.call('server_restart')
    assert mariadb.query('SELECT @@datadir')[0][0].startswith(str(mariadb.folder))


def test_stop_and_start(mariadb: guests.Guest) -> None:
    before = mariadb.call('status')
    stopped = mariadb.call('server_stop', disable=True)
    assert (stopped['state'], stopped['pid']) == ('shutdown', 0)
    assert not stopped['enabled']
    assert not pathlib.Path(f'/proc/{before["pid"]}').exists()
    started = mariadb.call('server_start')
    assert (started['state'], started['enabled']) == ('healthy', True)
    assert mariadb.call('diagnostics')['vm_rss'] > 1024
    assert mariadb.host.events == []


def test_the_server_outlives_the_agent_and_is_found_again(
    mariadb: guests.Guest,
) -> None:
    before = mariadb.call('status')['pid']
    mariadb.stop()
    mariadb.start()
    after = mariadb.call('status')
    assert (after['state'], after['pid']) == ('healthy', before)


def test_a_crash_is_told_at_once_and_the_server_started_again(
    mariadb: guests.Guest,
) -> None:
    assert mariadb.made is not None
    mariadb.made.watch()  # type: ignore[attr-defined]
    pid = mariadb.call('status')['pid']
    os.kill(pid, signal.SIGKILL)

    def told() -> list[Any]:
        return [name for name, data in mariadb.host.events if data['pid'] != 0]

    processes.wait_for(
        lambda: told() == ['datastore.crashed', 'datastore.recovered'],
        'crash and recovery are told',
        60,
    )
    after = mariadb.call('status')
    assert (after['state'], after['pid'] != pid) == ('healthy', True)


def test_an_upgrade_brings_the_data_to_the_new_version(
    mariadb: guests.Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def upgrade(names: object, context: object) -> None:
        assert mariadb.call('status')['state'] == 'shutdown'
        asked.append(names)

    monkeypatch.setattr(packages, 'upgrade', upgrade)
    before = mariadb.call('status')
    done = mariadb.call('upgrade')
    assert done == {'before': before['version'], 'after': before['version']}
    assert asked == [('mariadb-server', 'mariadb-backup')]
    assert mariadb.call('status')['state'] == 'healthy'

    # Where it cannot be installed, the old one goes on.
    def fail(names: object, context: object) -> None:
        raise errors.GuestError('no such package')

    monkeypatch.setattr(packages, 'upgrade', fail)
    with pytest.raises(errors.GuestError, match='no such package'):
        mariadb.call('upgrade')
    assert mariadb.call('status')['state'] == 'healthy'


def test_an_upgrade_that_was_cut_short_leaves_no_server_down(
    mariadb: guests.Guest,
) -> None:
    assert mariadb.made is not None
    # As an agent leaves it that is killed while apt works.
    mariadb.made.records.begin(records.Operation('upgrade', 1.0))
    mariadb.made.control.pause()
    assert mariadb.call('status')['state'] == 'shutdown'
    mariadb.stop()
    mariadb.start()
    mariadb.made.watch()  # type: ignore[attr-defined]
    status = mariadb.call('status')
    assert status['state'] == 'healthy'
    assert status['interrupted']['operation'] == 'upgrade'
    assert 'the data is whole' in status['interrupted']['found']


def test_a_crash_while_there_was_no_agent_is_told_by_the_next(
    mariadb: guests.Guest,
) -> None:
    pid = mariadb.call('status')['pid']
    mariadb.stop()
    mariadb.host.events.clear()
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [], 60)
    os.close(ended)
    mariadb.start()
    assert mariadb.call('status')['state'] == 'crashed'
    mariadb.made.watch()  # type: ignore[union-attr, attr-defined]
    assert [name for name, _data in mariadb.host.events] == [
        'datastore.crashed',
        'datastore.recovered',
    ]
    assert mariadb.host.facts['datastore.state'] == 'healthy'


def test_a_server_that_does_not_start_says_why_and_is_given_up(
    mariadb: guests.Guest,
) -> None:
    assert mariadb.made is not None
    mariadb.call('server_stop')
    mariadb.host.events.clear()
    table = mariadb.folder / 'volume' / 'data' / 'ibdata1'
    kept = table.read_bytes()
    table.write_bytes(b'nonsense')
    try:
        with pytest.raises(
            errors.GuestError, match=r'ended while it started: .*InnoDB'
        ):
            mariadb.call('server_start')
        assert mariadb.call('status')['state'] == 'crashed'
        for _ in range(5):
            mariadb.made.watch()  # type: ignore[attr-defined]
        # More often would only wear out the disk.
        assert 1 <= len(mariadb.host.events) <= 3
        assert mariadb.made.health() == 'the server has crashed'
    finally:
        table.write_bytes(kept)
    assert mariadb.call('server_start')['state'] == 'healthy'


def test_what_a_killed_agent_left_undone_is_found(
    new_guest: Callable[[str], guests.Guest],
) -> None:
    guest = new_guest('mariadb')
    assert guest.made is not None
    engine = guest.made.engine
    # As an agent leaves it that is killed while it makes the data.
    engine.prepare_folders()
    engine.incomplete.touch()
    (engine.place.data / 'mysql').mkdir()
    guest.made.records.begin(records.Operation('prepare', 1.0))
    guest.stop()
    guest.start()
    guest.made.watch()  # type: ignore[attr-defined]
    status = guest.call('status')
    assert status['state'] == 'new'
    assert status['interrupted']['operation'] == 'prepare'
    assert 'deleted' in status['interrupted']['found']
    assert ('datastore.interrupted', status['interrupted']) in guest.host.events
    assert guest.call('prepare', memory=64)['state'] == 'healthy'


def test_prepare_begins_with_a_backup_and_rebuild_with_the_volume(
    mariadb: guests.Guest, new_guest: Callable[[str], guests.Guest]
) -> None:
    mariadb.query('CREATE DATABASE shop')
    mariadb.query('CREATE TABLE shop.numbers (n INT)')
    mariadb.query('INSERT INTO shop.numbers VALUES (7)')
    guest = new_guest('mariadb')
    (guest.folder / 'backups').mkdir()
    for each in (mariadb, guest):
        each.stop()
        each.options['backup_folder'] = str(guest.folder / 'backups')
        each.start()
    made = mariadb.call('backup_create', backup_id='b1', storage='file')
    restore = {name: made[name] for name in ('location', 'checksum')}
    restore['storage'] = 'file'
    assert guest.call('prepare', memory=64, restore=restore)['state'] == 'healthy'
    assert guest.query('SELECT n FROM shop.numbers') == [(7,)]

    # A new guest on the same volume.
    guest.call('server_stop')
    shutil.rmtree(guest.folder / 'config')
    shutil.rmtree(guest.folder / 'state')
    rebuilt = guest.call('rebuild', memory=64, overrides={'max_connections': 33})
    assert rebuilt['state'] == 'healthy'
    assert guest.query('SELECT n, @@max_connections FROM shop.numbers') == [(7, 33)]

    # Another guest image, which is told what the old one had.
    saved = guest.call('upgrade_save')
    assert guest.call('status')['state'] == 'shutdown'
    shutil.rmtree(guest.folder / 'config')
    assert guest.call('upgrade_resume', saved=saved)['state'] == 'healthy'
    assert guest.query('SELECT n, @@max_connections FROM shop.numbers') == [(7, 33)]
