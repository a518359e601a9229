# SPDX-License-Identifier: Apache-2.0
"""Redis: from nothing to a server, its parameters, its root, its backups."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from guestagent_datastore.engines.redis import client as clients
from guestagent_datastore.engines.redis import settings

from devstack import processes
from guestagent import errors

PASSWORD = 'hunter2 "of" root'

NewRedis = Callable[..., Any]


def _run(guest: Any, *words: str) -> Any:
    """Run a command as our own account."""
    return guest.made.engine.client.run(*words)


def _log_in(guest: Any, password: str) -> str:
    """Log in as root over TCP; return what the server says to that."""
    with _connect(guest) as connection:
        return _authenticate(connection, password)


def _connect(guest: Any) -> socket.socket:
    return socket.create_connection(('127.0.0.1', guest.port), timeout=60)


def _authenticate(connection: socket.socket, password: str) -> str:
    data = password.encode()
    connection.sendall(b'*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n' % (len(data), data))
    return connection.recv(4096).decode()


def _fill(guest: Any, count: int) -> None:
    for number in range(count):
        _run(guest, 'SET', f'key{number}', 'x' * 1000)


def test_a_server_lives(new_redis: NewRedis) -> None:
    guest = new_redis(overrides={'databases': 3}, config='hz 20\nport 1\ninclude /x\n')
    status = guest.call('status')
    assert (status['state'], status['engine']) == ('healthy', 'redis')
    assert status['version'] == guest.made.engine.client.info('server')['redis_version']
    assert _run(guest, 'CONFIG', 'GET', 'hz') == ['hz', '20']
    assert _run(guest, 'CONFIG', 'GET', 'databases') == ['databases', '3']
    limit = 64 * 60 // 100 * 1024 * 1024
    assert _run(guest, 'CONFIG', 'GET', 'maxmemory') == ['maxmemory', str(limit)]
    assert _run(guest, 'ACL', 'WHOAMI') == 'os_admin'
    _fill(guest, 3)

    guest.call('server_restart')
    assert _run(guest, 'DBSIZE') == 3
    assert guest.call('server_stop')['state'] == 'shutdown'
    with pytest.raises(clients.NotListening):
        _run(guest, 'PING')
    assert guest.call('server_start')['state'] == 'healthy'

    pid = guest.call('status')['pid']
    os.kill(pid, signal.SIGKILL)
    processes.wait_for(
        lambda: guest.call('status')['pid'] not in (0, pid), 'it is started again', 60
    )
    for call in (
        lambda: guest.call('database_list'),
        lambda: guest.call('user_create', users=[{'name': 'x', 'password': 'y'}]),
    ):
        with pytest.raises(errors.CallerError, match=r'redis: .* not supported'):
            call()
    (log,) = guest.made.engine.logs()
    assert 'Ready to accept connections' in log.path.read_text()


def test_root_opens_and_closes_the_server(new_redis: NewRedis) -> None:
    guest = new_redis()
    assert guest.call('root_status') == {'enabled': False}
    assert _log_in(guest, '').startswith('-WRONGPASS')
    guest.call('root_enable', password=PASSWORD)
    assert guest.call('root_status') == {'enabled': True}
    assert _log_in(guest, PASSWORD) == '+OK\r\n'
    assert _log_in(guest, 'hunter2').startswith('-WRONGPASS')
    # Accounts that root makes stay, as does root.
    _run(guest, 'ACL', 'SETUSER', 'app', 'on', '>hunter2 app', '~app:*', '+get')
    _run(guest, 'ACL', 'SAVE')
    guest.call('server_restart')
    assert _log_in(guest, PASSWORD) == '+OK\r\n'
    assert 'app' in _run(guest, 'ACL', 'USERS')
    # Even if root removes ours, it is there after a start.
    path = guest.made.engine.place.data / 'users.acl'
    path.write_text(path.read_text().replace('user os_admin', 'user somebody'))
    guest.call('server_restart')
    assert guest.call('status')['state'] == 'healthy'

    with _connect(guest) as root, socket.socket(socket.AF_UNIX) as other:
        assert _authenticate(root, PASSWORD) == '+OK\r\n'
        # As a backup that begins: it has not said yet who it is.
        other.connect(str(guest.made.engine.socket))
        processes.wait_for(
            lambda: 'cmd=NULL user=default' in _run(guest, 'CLIENT', 'LIST'), 'both'
        )
        guest.call('root_disable')
        assert root.recv(4096) == b''
        other.sendall(b'PING\r\n')
        assert other.recv(4096).startswith(b'-NOAUTH')
    assert guest.call('root_status') == {'enabled': False}
    assert _log_in(guest, PASSWORD).startswith('-WRONGPASS')
    assert PASSWORD not in (guest.folder / 'log' / 'redis.log').read_text()


def test_overrides_are_judged_by_the_server(new_redis: NewRedis) -> None:
    guest = new_redis()
    before = {item['name']: item['value'] for item in guest.call('config_show')}
    applied = guest.call(
        'config_set',
        overrides={
            'maxmemory': '32mb',
            'Save': '900 1 300 10',
            'databases': 4,
            'activerehashing': False,
            'notify-keyspace-events': 'KEA',
        },
    )
    assert applied['restart_required'] == ['databases']
    assert applied['applied'] == [
        'activerehashing',
        'maxmemory',
        'notify-keyspace-events',
        'save',
    ]
    shown = guest.call('config_show', names=['maxmemory', 'databases', 'save'])
    found = {item['name']: item for item in shown}
    assert found['maxmemory']['value'] == str(32 * 1024 * 1024)
    assert (found['databases']['value'], found['databases']['override']) == ('16', 4)
    assert found['databases']['restart_required']
    assert not found['databases']['dynamic']
    assert found['save']['value'] == '900 1 300 10'
    guest.call('server_restart')
    shown = guest.call('config_show', names=['databases', 'save', 'activerehashing'])
    assert {item['name']: item['value'] for item in shown} == {
        'activerehashing': 'no',
        'databases': '4',
        'save': '900 1 300 10',
    }
    assert not any(item['restart_required'] for item in shown)

    applied = guest.call('config_reset')
    assert applied['restart_required'] == ['databases']
    guest.call('server_restart')
    after = {item['name']: item['value'] for item in guest.call('config_show')}
    assert after == before

    for name, value, words in (
        ('maxmemory', 'lots', 'must be a memory value'),
        ('nix', 1, 'Bad directive'),
        ('hz', 'x', 'integer'),
        ('dir', '/tmp', 'cannot be overridden'),
        ('requirepass', 'hunter2', 'cannot be overridden'),
        ('loadmodule', '/tmp/x.so', 'cannot be overridden'),
        ('a b', 1, 'no parameter can have this name'),
    ):
        with pytest.raises(errors.InvalidArgument, match=words):
            guest.call('config_set', overrides={'maxmemory': '33mb', name: value})
    assert _run(guest, 'CONFIG', 'GET', 'maxmemory')[1] == before['maxmemory']


def test_what_a_running_server_does_not_change(new_redis: NewRedis) -> None:
    guest = new_redis()
    engine = guest.made.engine
    refused: set[tuple[str, str]] = set()
    for name, value in engine.client.pairs('CONFIG', 'GET', '*').items():
        try:
            engine.client.run('CONFIG', 'SET', name, value)
        except clients.ServerError as error:
            refused.add((name, str(error).rpartition(' - ')[2].partition(' ')[0]))
    named = {item.name for item in engine.parameters(None) if not item.dynamic}
    assert {word for _, word in refused} == {"can't"}
    assert {name for name, _ in refused} <= named
    assert {name for name, _ in refused} >= settings.FIXED


@pytest.mark.parametrize('log_of_changes', [False, True])
def test_a_backup_is_restored(new_redis: NewRedis, log_of_changes: bool) -> None:
    overrides = {'appendonly': log_of_changes}
    guest = new_redis(overrides=overrides, root_password=PASSWORD)
    _fill(guest, 300)
    made = guest.call('backup_create', backup_id='one', storage='file')
    assert made['type'] == 'full'
    assert '.rdb' in made['location']
    _fill(guest, 400)
    with pytest.raises(errors.InvalidArgument, match='full backups only'):
        guest.call('backup_create', backup_id='two', storage='file', parent=made)

    arguments = {
        'location': made['location'],
        'checksum': made['checksum'],
        'storage': 'file',
    }
    other = new_redis(overrides=overrides, restore=arguments)
    assert _run(other, 'DBSIZE') == 300
    _fill(other, 310)
    other.call('server_restart')
    assert _run(other, 'DBSIZE') == 310

    guest.call('backup_restore', **arguments)
    assert _run(guest, 'DBSIZE') == 300
    assert _run(guest, 'GET', 'key299') == 'x' * 1000
    assert _log_in(guest, PASSWORD) == '+OK\r\n'
    guest.call('server_restart')
    assert _run(guest, 'DBSIZE') == 300


def test_what_is_not_whole_is_removed(new_redis: NewRedis) -> None:
    guest = new_redis()
    _fill(guest, 50)
    engine = guest.made.engine
    guest.call('server_stop')
    data = engine.place.data
    (data / 'dump.rdb').unlink()
    with engine.restore(guest.folder) as restore:
        command = restore.part({'kind': 'full', 'version': '7'})
        subprocess.run(command.argv, input=b'REDIS0010 and so on', check=True)
        # The agent is killed here; another one looks.
        assert not engine.initialised()
        with pytest.raises(errors.GuestError, match='not whole'):
            restore.part_done()
    assert list(data.iterdir()) == []
    assert engine.initialised()
    restore = engine.restore(guest.folder)
    assert 'unfinished data was removed' in engine.recover('backup_restore')
    assert engine.initialised()
    assert 'as the server has it' in engine.recover('backup_restore')


def test_a_snapshot_has_all(new_redis: NewRedis) -> None:
    guest = new_redis()
    _fill(guest, 50)
    guest.made.engine.lock_writes()()
    ended = os.pidfd_open(pid := guest.call('status')['pid'])
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [], 60)
    os.close(ended)
    guest.call('server_start')
    processes.wait_for(lambda: guest.call('status')['state'] == 'healthy', 'it serves')
    assert _run(guest, 'DBSIZE') == 50
