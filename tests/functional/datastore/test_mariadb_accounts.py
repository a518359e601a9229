# SPDX-License-Identifier: Apache-2.0
"""Databases, users, rights and root on a real MariaDB server."""

from __future__ import annotations

import threading
from typing import Any

import hypothesis
import pymysql
import pytest
from hypothesis import strategies

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional

#: A secret of a test holds the mark that tests/secrecy.py looks for.
PASSWORD = 'hunter2-\'"\\`%_ äπ'

#: Names that a careless statement would trip over.
NAMES = strategies.text(
    strategies.one_of(
        strategies.sampled_from('\'"`\\%_;- #@./*'),
        strategies.characters(
            min_codepoint=0x20, max_codepoint=0xFFFF, exclude_categories=['Cs', 'Cc']
        ),
    ),
    min_size=1,
    max_size=20,
)
#: The server's own, and what it refuses with good reason, is not meant here.
DATABASES = NAMES.filter(
    lambda name: not name.endswith(' ') and not name.startswith('#mysql50#')
)
SETTINGS = hypothesis.settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


def login(guest: guests.Guest, user: str, password: str) -> pymysql.Connection[Any]:
    """Come in as a user does: over the network, with a password."""
    # As a text it would be sent in Latin-1.
    return pymysql.connect(
        host='127.0.0.1', port=guest.port, user=user, password=password.encode()
    )


@SETTINGS
@hypothesis.given(name=DATABASES)
def test_hostile_names_of_databases(mariadb: guests.Guest, name: str) -> None:
    mariadb.call('database_create', databases=[{'name': name}])
    mariadb.call('database_create', databases=[{'name': name}])
    listed = [item['name'] for item in mariadb.call('database_list')['items']]
    assert listed == [name]
    mariadb.call('database_delete', name=name)
    assert mariadb.call('database_list')['items'] == []


@SETTINGS
@hypothesis.given(
    name=NAMES,
    password=strategies.text(
        strategies.characters(exclude_categories=['Cs']), min_size=1, max_size=30
    ),
    database=DATABASES,
)
def test_hostile_users_with_hostile_passwords(
    mariadb: guests.Guest, name: str, password: str, database: str
) -> None:
    user = {'name': name, 'password': password, 'databases': [database]}
    mariadb.call('database_create', databases=[{'name': database}])
    mariadb.call('user_create', users=[user])
    try:
        shown = {'name': name, 'host': '%', 'databases': [database]}
        assert mariadb.call('user_list')['items'] == [shown]
        assert mariadb.call('user_get', name=name) == shown
        with login(mariadb, name, password) as connection:
            connection.select_db(database)
        mariadb.call('access_revoke', name=name, database=database)
        assert mariadb.call('access_list', name=name) == []
    finally:
        mariadb.call('user_delete', name=name)
        mariadb.call('database_delete', name=database)
    assert mariadb.call('user_get', name=name) is None


def test_reads_do_not_wait_for_a_change_that_waits(mariadb: guests.Guest) -> None:
    mariadb.call('database_create', databases=[{'name': 'busy'}])
    user = {'name': 'holder', 'password': PASSWORD, 'databases': ['busy']}
    mariadb.call('user_create', users=[user])
    with login(mariadb, 'holder', PASSWORD) as connection:
        cursor = connection.cursor()
        cursor.execute('CREATE TABLE busy.rows_ (number INT)')
        cursor.execute('LOCK TABLES busy.rows_ WRITE')
        deleting = threading.Thread(
            target=mariadb.call, args=('database_delete',), kwargs={'name': 'busy'}
        )
        deleting.start()
        state = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Wait%'"
        processes.wait_for(lambda: mariadb.query(state), 'it waits')
        assert mariadb.call('user_get', name='holder')['databases'] == ['busy']
        assert len(mariadb.call('database_list')['items']) == 1
        assert deleting.is_alive()
        cursor.execute('UNLOCK TABLES')
    deleting.join(60)
    assert mariadb.call('database_list')['items'] == []
    mariadb.call('user_delete', name='holder')


def test_rights_hold_for_one_database_only(mariadb: guests.Guest) -> None:
    """In a grant ``_`` and ``%`` would match other names, too."""
    names = ['my_db', 'myXdb', 'a%', 'abc']
    mariadb.call('database_create', databases=[{'name': name} for name in names])
    user = {'name': 'narrow', 'password': PASSWORD, 'databases': ['my_db', 'a%']}
    mariadb.call('user_create', users=[user])
    try:
        with login(mariadb, 'narrow', PASSWORD) as connection:
            for name in ('my_db', 'a%'):
                connection.select_db(name)
            for name in ('myXdb', 'abc'):
                with pytest.raises(pymysql.err.OperationalError):
                    connection.select_db(name)
    finally:
        mariadb.call('user_delete', name='narrow')
        for name in names:
            mariadb.call('database_delete', name=name)


def test_changes_of_a_user(mariadb: guests.Guest) -> None:
    mariadb.call('database_create', databases=[{'name': 'shop'}])
    user = {'name': 'ann', 'host': '10.%', 'password': PASSWORD, 'databases': ['shop']}
    other = {'name': 'bob', 'password': PASSWORD}
    mariadb.call('user_create', users=[user, other])
    try:
        changes = {'name': 'bob', 'host': '%'}
        with pytest.raises(errors.InvalidArgument, match='there already'):
            mariadb.call('user_update', name='ann', host='10.%', changes=changes)
        changes = {'host': '127.0.0._', 'password': 'hunter2 new'}
        mariadb.call('user_update', name='ann', host='10.%', changes=changes)
        assert mariadb.call('access_list', name='ann', host='127.0.0._') == ['shop']
        login(mariadb, 'ann', 'hunter2 new').close()
        again = [{'name': 'ann', 'host': '127.0.0._', 'password': PASSWORD}]
        mariadb.call('user_passwords', users=again)
        login(mariadb, 'ann', PASSWORD).close()
        with pytest.raises(errors.InvalidArgument, match='there is no'):
            mariadb.call('user_passwords', users=[{'name': 'nobody', 'password': 'x'}])
    finally:
        mariadb.call('user_delete', name='ann', host='127.0.0._')
        mariadb.call('user_delete', name='bob')
        mariadb.call('database_delete', name='shop')


def test_pages(mariadb: guests.Guest) -> None:
    names = [f'db{number}' for number in range(5)]
    mariadb.call('database_create', databases=[{'name': name} for name in names])
    users = [{'name': name, 'password': PASSWORD} for name in names]
    mariadb.call('user_create', users=users)
    try:
        for command, marker in (('database_list', '{}'), ('user_list', '{}@%')):
            first = mariadb.call(command, limit=2)
            assert [item['name'] for item in first['items']] == names[:2]
            assert first['next_marker'] == marker.format(names[1])
            rest = mariadb.call(command, limit=3, marker=first['next_marker'])
            assert [item['name'] for item in rest['items']] == names[2:]
            assert rest['next_marker'] is None
            last = mariadb.call(
                command, marker=marker.format(names[4]), include_marker=True
            )
            assert [item['name'] for item in last['items']] == names[4:]
        with pytest.raises(errors.InvalidArgument, match='limit'):
            mariadb.call('database_list', limit=0)
    finally:
        for name in names:
            mariadb.call('database_delete', name=name)
            mariadb.call('user_delete', name=name)


def test_root_is_told_truly(mariadb: guests.Guest) -> None:
    assert mariadb.call('root_status') == {'enabled': False}
    with pytest.raises(errors.GuestError, match='not enabled'):
        mariadb.call('root_password')
    root = mariadb.call('root_enable')
    assert mariadb.call('root_status') == {'enabled': True}
    assert mariadb.call('root_password') == root
    with login(mariadb, 'root', root['password']) as connection:
        connection.cursor().execute('CREATE DATABASE made_by_root')
    mariadb.call('database_delete', name='made_by_root')
    mariadb.call('root_disable')
    assert mariadb.call('root_status') == {'enabled': False}
    with pytest.raises(pymysql.err.OperationalError):
        login(mariadb, 'root', root['password'])
    # Somebody else may have made one.
    mariadb.query("CREATE USER 'root'@'10.0.0.1' IDENTIFIED BY 'x'")
    assert mariadb.call('root_status') == {'enabled': True}
    mariadb.call('root_disable')
    assert mariadb.call('root_status') == {'enabled': False}


@pytest.mark.parametrize(
    ('command', 'arguments', 'message'),
    [
        ('database_create', {'databases': [{'name': 'x' * 65}]}, '65 characters'),
        ('database_create', {'databases': [{'name': ''}]}, '0 characters'),
        ('database_create', {'databases': [{'name': 'x '}]}, 'ends with a space'),
        ('database_create', {'databases': [{'name': 'x\0'}]}, 'control character'),
        ('database_create', {'databases': [{'name': '\U0001f600'}]}, 'cannot have'),
        ('database_create', {'databases': [{'name': 'MySQL'}]}, "server's own"),
        ('database_create', {'databases': [{}]}, 'name is missing'),
        (
            'database_create',
            {'databases': [{'name': 'x', 'character_set': 'utf8; DROP'}]},
            'not made of letters',
        ),
        (
            'database_create',
            {'databases': [{'name': 'x', 'character_set': 'nonsense'}]},
            'Unknown character set',
        ),
        ('database_delete', {'name': 'not_there'}, "doesn't exist"),
        ('user_create', {'users': [{'name': 'x' * 81, 'password': 'y'}]}, '81 chara'),
        ('user_create', {'users': [{'name': 'root', 'password': 'y'}]}, 'own'),
        ('user_create', {'users': [{'name': 'x', 'password': ''}]}, 'empty'),
        ('user_create', {'users': [{'name': 'x'}]}, 'password is missing'),
        (
            'user_create',
            {'users': [{'name': 'x', 'host': "a'b", 'password': 'y'}]},
            'no name or address',
        ),
        ('user_delete', {'name': 'nobody'}, 'there is no'),
        ('access_grant', {'name': 'nobody', 'databases': ['x']}, 'there is no'),
    ],
)
def test_what_makes_no_sense_is_refused(
    mariadb: guests.Guest, command: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        mariadb.call(command, **arguments)
    assert mariadb.call('database_list')['items'] == []
    assert mariadb.call('user_list')['items'] == []


def test_no_password_reaches_the_servers_logs(mariadb: guests.Guest) -> None:
    mariadb.query('SET GLOBAL general_log_file = %s', 'general')
    mariadb.query('SET GLOBAL general_log = 1')
    try:
        mariadb.call('user_create', users=[{'name': 'eve', 'password': PASSWORD}])
    finally:
        mariadb.query('SET GLOBAL general_log = 0')
        mariadb.call('user_delete', name='eve')
    log = (mariadb.folder / 'volume' / 'data' / 'general').read_text()
    assert 'eve' in log
    assert 'hunter2' not in log
