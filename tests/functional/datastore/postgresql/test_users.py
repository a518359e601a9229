# SPDX-License-Identifier: Apache-2.0
"""Databases, users, grants and root; what counts is what the server does."""

from __future__ import annotations

import psycopg2
import pytest
from guestagent_datastore import models
from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import errors
from tests.functional.datastore.postgresql import cluster

PASSWORD = 'hunter2 of a user'

#: All that the server can have in a name.
NAMES = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=('Cs', 'Cc')), min_size=1
).filter(lambda name: len(name.encode()) <= 60)


def _database(name: str) -> models.Database:
    return models.Database(name)


def _user(name: str, *databases: str, host: str = '%') -> models.User:
    return models.User(name, host, PASSWORD, databases)


def test_databases_come_and_go(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.create_databases(
        [
            models.Database('plain'),
            models.Database('latin', 'LATIN1', 'C'),
            models.Database('Ünïcode "quoted"', 'utf8', 'C.UTF-8'),
        ]
    )
    engine.create_databases([models.Database('plain', 'LATIN1')])

    items = engine.list_databases(None, None, False).items
    assert items == (
        models.Database('latin', 'LATIN1', 'C'),
        models.Database('plain', 'UTF8', 'C.UTF-8'),
        models.Database('Ünïcode "quoted"', 'UTF8', 'C.UTF-8'),
    )

    for item in items:
        engine.delete_database(item.name)
    assert engine.list_databases(None, None, False).items == ()
    assert not postgresql.query(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'guestagent%'"
    )
    with pytest.raises(errors.InvalidArgument, match="no database 'plain'"):
        engine.delete_database('plain')
    with pytest.raises(errors.GuestError, match='invalid locale name'):
        engine.create_databases([models.Database('bad', collate='tlh_KL')])
    with pytest.raises(errors.GuestError, match='not a valid encoding'):
        engine.create_databases([models.Database('bad', 'klingon')])


@pytest.mark.parametrize(
    'name', ['', 'x' * 64, 'ü' * 32, 'a\0b', 'a\nb', '\ud800', 'postgres', 'template1']
)
def test_names_that_no_database_can_have(
    postgresql: cluster.Cluster, name: str
) -> None:
    engine = postgresql.engine
    for method in (engine.delete_database, lambda x: engine.create_databases([x])):
        argument = name if method == engine.delete_database else _database(name)
        with pytest.raises(errors.InvalidArgument, match='database: '):
            method(argument)  # type: ignore[operator]


def test_lists_come_in_pages(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    names = ['B', 'a', 'a b', 'ab', 'é']
    engine.create_databases([_database(name) for name in reversed(names)])
    engine.create_users([_user(name) for name in names])

    page = engine.list_databases(2, None, False)
    assert [item.name for item in page.items] == ['B', 'a']
    assert page.next_marker == 'a'
    page = engine.list_databases(2, page.next_marker, False)
    assert [item.name for item in page.items] == ['a b', 'ab']
    page = engine.list_databases(2, 'ab', True)
    assert [item.name for item in page.items] == ['ab', 'é']
    assert page.next_marker is None
    with pytest.raises(errors.InvalidArgument, match='limit: 0'):
        engine.list_databases(0, None, False)

    users = engine.list_users(3, None, False)
    # A space sorts before @.
    assert [user.name for user in users.items] == ['B', 'a b', 'a']
    assert users.next_marker == 'a@%'
    users = engine.list_users(3, users.next_marker, False)
    assert [user.name for user in users.items] == ['ab', 'é']
    users = engine.list_users(1, 'ab@%', True)
    assert [user.name for user in users.items] == ['ab']

    for name in names:
        engine.delete_user(name, '%')
        engine.delete_database(name)


def test_users_of_a_database_share_all_that_is_in_it(
    postgresql: cluster.Cluster,
) -> None:
    engine = postgresql.engine
    engine.create_databases([_database('shop'), _database('other')])
    engine.create_users([_user('ann', 'shop'), _user('bob', 'shop'), _user('eve')])
    assert engine.get_user('ann', '%') == models.User('ann', databases=('shop',))

    postgresql.ask('ann', PASSWORD, 'CREATE TABLE goods (name text)', 'shop')
    postgresql.ask('bob', PASSWORD, "INSERT INTO goods VALUES ('tea')", 'shop')
    postgresql.ask('bob', PASSWORD, 'ALTER TABLE goods ADD price int', 'shop')
    for user, database in (('eve', 'shop'), ('ann', 'other'), ('ann', 'template1')):
        with pytest.raises(psycopg2.Error, match='permission denied'):
            postgresql.ask(user, PASSWORD, 'SELECT 1', database)

    engine.grant('eve', '%', ['other', 'shop'])
    assert postgresql.ask('eve', PASSWORD, 'SELECT name FROM goods', 'shop') == [
        ('tea',)
    ]
    assert engine.get_user('eve', '%') == models.User(
        'eve', databases=('other', 'shop')
    )

    connection = postgresql.connect('eve', PASSWORD, 'shop')
    engine.revoke('eve', '%', 'shop')
    with pytest.raises(psycopg2.Error), connection.cursor() as cursor:
        cursor.execute('SELECT 1')
    connection.close()
    with pytest.raises(psycopg2.Error, match='permission denied'):
        postgresql.ask('eve', PASSWORD, 'SELECT 1', 'shop')
    assert engine.get_user('eve', '%') == models.User('eve', databases=('other',))

    engine.delete_user('ann', '%')
    assert postgresql.ask('bob', PASSWORD, 'SELECT name FROM goods', 'shop') == [
        ('tea',)
    ]
    with pytest.raises(errors.InvalidArgument, match="no database 'nix'"):
        engine.grant('bob', '%', ['other', 'nix'])
    assert engine.get_user('bob', '%') == models.User('bob', databases=('shop',))
    for name in ('shop', 'other'):
        engine.delete_database(name)
    for name in ('bob', 'eve'):
        engine.delete_user(name, '%')


def test_a_database_from_elsewhere_is_adopted(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.create_users([_user('owner'), _user('second')])
    postgresql.query('CREATE DATABASE brought OWNER owner')
    postgresql.query('CREATE DATABASE granted')
    postgresql.query('GRANT ALL ON DATABASE granted TO owner')
    assert engine.get_user('owner', '%') == models.User(
        'owner', databases=('brought', 'granted')
    )
    postgresql.ask('owner', PASSWORD, 'CREATE TABLE mine (x int)', 'brought')
    engine.grant('second', '%', ['brought'])
    postgresql.ask('second', PASSWORD, 'CREATE TABLE ours (x int)', 'brought')

    # What a user owns, a database or a table, outlives it.
    engine.delete_user('owner', '%')
    assert postgresql.ask('second', PASSWORD, 'SELECT * FROM mine', 'brought') == []
    assert [item.name for item in engine.list_databases(None, None, False).items] == [
        'brought',
        'granted',
    ]
    engine.delete_user('second', '%')
    engine.delete_database('brought')
    engine.delete_database('granted')


def test_a_user_changes(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.create_databases([_database('kept')])
    engine.create_users([_user('old', 'kept'), _user('there')])
    engine.update_user('old', '%', models.UserChange('new', None, 'hunter2 too'))
    assert engine.get_user('old', '%') is None
    assert engine.get_user('new', '%') == models.User('new', databases=('kept',))
    postgresql.ask('new', 'hunter2 too', 'CREATE TABLE more (x int)', 'kept')
    with pytest.raises(psycopg2.Error, match='password authentication failed'):
        postgresql.ask('new', PASSWORD, 'SELECT 1')
    with pytest.raises(errors.InvalidArgument, match='already'):
        engine.update_user('new', '%', models.UserChange('there'))
    with pytest.raises(errors.InvalidArgument, match="no user 'old'"):
        engine.update_user('old', '%', models.UserChange('other'))
    # Given again, a user gets the password and the databases that come with it.
    engine.create_users([_user('new')])
    assert postgresql.ask('new', PASSWORD, 'SELECT 1', 'kept') == [(1,)]
    for name in ('new', 'there'):
        engine.delete_user(name, '%')
    engine.delete_database('kept')


def test_a_user_comes_from_its_host_only(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.create_users([_user('near', host='127.%'), _user('far', host='10.0.0.0/8')])
    assert postgresql.ask('near', PASSWORD, 'SELECT 1') == [(1,)]
    with pytest.raises(psycopg2.Error, match='rejects connection'):
        postgresql.ask('far', PASSWORD, 'SELECT 1')
    assert engine.get_user('far', '10.0.0.0/8') == models.User('far', '10.0.0.0/8')
    assert engine.get_user('far', '%') == models.User('far', '10.0.0.0/8')
    assert engine.get_user('far', '10.1.0.0/16') is None
    with pytest.raises(errors.InvalidArgument, match='a user of PostgreSQL has one'):
        engine.create_users([_user('far', host='%')])

    engine.update_user('far', '10.0.0.0/8', models.UserChange(host='127.0.0.1'))
    engine.update_user('near', '127.%', models.UserChange('nearer', '192.168.1.1'))
    assert postgresql.ask('far', PASSWORD, 'SELECT 1') == [(1,)]
    with pytest.raises(psycopg2.Error, match='rejects connection'):
        postgresql.ask('nearer', PASSWORD, 'SELECT 1')
    # The server keeps it: what we keep beside may be lost.
    (postgresql.folder / 'volume' / 'guestagent' / 'postgresql.json').unlink()
    postgresql.restart()
    with pytest.raises(psycopg2.Error, match='rejects connection'):
        postgresql.ask('nearer', PASSWORD, 'SELECT 1')

    engine.update_user('nearer', '%', models.UserChange(host='%'))
    assert postgresql.ask('nearer', PASSWORD, 'SELECT 1') == [(1,)]
    engine.delete_user('far', '127.0.0.1')
    engine.delete_user('nearer', '%')
    assert 'far' not in (postgresql.folder / 'config' / 'pg_hba.conf').read_text()


@pytest.mark.parametrize(
    'user',
    [
        models.User('postgres', password=PASSWORD),
        models.User('os_admin', password=PASSWORD),
        models.User('pg_monitor', password=PASSWORD),
        models.User('none', password=PASSWORD),
        models.User('x' * 64, password=PASSWORD),
        models.User('without'),
        models.User('empty', password=''),
        models.User('nul', password='hunter2\0'),
        models.User('wrong', password='hunter2\ud800'),
        models.User('elsewhere', '10.0.0.0.1', PASSWORD),
        models.User('elsewhere', 'all all\nhost', PASSWORD),
        models.User('/.*', '10.0.0.1', PASSWORD),
        models.User('lost', password=PASSWORD, databases=('nix',)),
    ],
)
def test_users_that_cannot_be(postgresql: cluster.Cluster, user: models.User) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        postgresql.engine.create_users([user])
    assert 'hunter2' not in str(caught.value)
    assert postgresql.engine.list_users(None, None, False).items == ()


@settings(max_examples=10)
@given(
    database=NAMES,
    user=NAMES,
    password=st.text(
        st.characters(min_codepoint=1, exclude_categories=('Cs',)), min_size=1
    ),
    near=st.booleans(),
)
def test_any_name_and_password_will_do(
    postgresql: cluster.Cluster, database: str, user: str, password: str, near: bool
) -> None:
    engine = postgresql.engine
    host = '127.0.0.1' if near and not user.startswith('/') else '%'
    database, user = f'd{database}', f'u{user}'
    made = models.User(user, host, password, (database,))
    engine.create_databases([_database(database)])
    engine.create_users([made])
    try:
        assert engine.list_databases(None, None, False).items[0].name == database
        (listed,) = engine.list_users(None, None, False).items
        assert listed == models.User(user, host, databases=(database,))
        got = postgresql.ask(user, password, 'SELECT session_user::text', database)
        assert got == [(user,)]
        engine.revoke(user, host, database)
        assert engine.get_user(user, host) == models.User(user, host)
    finally:
        engine.delete_user(user, host)
        engine.delete_database(database)


def test_root_is_open_or_closed(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    assert not engine.root_enabled()
    root = engine.enable_root('hunter2 root')
    assert (root.name, root.password) == ('postgres', 'hunter2 root')
    assert engine.root_enabled()
    connection = postgresql.connect('postgres', 'hunter2 root')
    with connection.cursor() as cursor:
        cursor.execute('CREATE ROLE made_by_root SUPERUSER')
        cursor.execute('DROP ROLE made_by_root')
        engine.disable_root()
        with pytest.raises(psycopg2.Error):
            cursor.execute('SELECT 1')
    connection.close()
    assert not engine.root_enabled()
    with pytest.raises(psycopg2.Error, match='password authentication failed'):
        postgresql.ask('postgres', 'hunter2 root', 'SELECT 1')
    with pytest.raises(errors.InvalidArgument, match='empty'):
        engine.enable_root('')


def test_no_password_is_in_the_servers_log(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    postgresql.query("ALTER SYSTEM SET log_statement = 'all'")
    engine.reload()
    engine.create_users([_user('logged')])
    with pytest.raises(errors.GuestError) as caught, engine.client.session() as session:
        session.query('ALTER ROLE {} PASSWORD %s', [PASSWORD], ['nobody'])
    assert PASSWORD not in str(caught.value)
    engine.delete_user('logged', '%')
    postgresql.query('ALTER SYSTEM RESET log_statement')
    engine.reload()
    log = (postgresql.folder / 'log' / 'postgresql.log').read_text()
    assert 'database system is ready' in log
    assert 'hunter2' not in log
    assert 'SCRAM-SHA-256$' not in log
