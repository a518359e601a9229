# SPDX-License-Identifier: Apache-2.0
"""Overrides of variables on a real MariaDB server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional

#: The operator's text, which overrides come after.
OPERATOR = '[mysqld]\nmax_connections = 77\nwait_timeout = 1000\n'


@pytest.fixture(scope='module', autouse=True)
def configured(mariadb: guests.Guest) -> None:
    mariadb.call('server_start', config=OPERATOR)
    mariadb.call('server_restart')


@pytest.fixture(autouse=True)
def clean(mariadb: guests.Guest) -> Any:
    yield
    mariadb.call('config_reset')


def shown(guest: guests.Guest, name: str) -> dict[str, Any]:
    (parameter,) = guest.call('config_show', names=[name])
    return parameter


def test_dynamic_overrides_count_at_once_and_are_reset_to_the_operators(
    mariadb: guests.Guest,
) -> None:
    done = mariadb.call(
        'config_set', overrides={'max-connections': 99, 'wait_timeout': '2K'}
    )
    names = ['max_connections', 'wait_timeout']
    assert done == {'applied': names, 'restart_required': []}
    variable = shown(mariadb, 'max_connections')
    assert (variable['value'], variable['override']) == ('99', 99)
    assert (variable['kind'], variable['dynamic']) == ('integer', True)
    assert shown(mariadb, 'wait_timeout')['value'] == '2048'
    mariadb.call('server_restart')
    assert mariadb.query('SELECT @@max_connections') == [(99,)]

    done = mariadb.call('config_reset', names=['max_connections'])
    assert done == {'applied': ['max_connections'], 'restart_required': []}
    assert mariadb.query('SELECT @@max_connections') == [(77,)]
    assert shown(mariadb, 'max_connections')['override'] is None
    assert shown(mariadb, 'wait_timeout')['override'] == 2048
    mariadb.call('config_reset')
    assert mariadb.query('SELECT @@global.wait_timeout') == [(1000,)]


def test_what_needs_a_restart_is_said_until_it_was_done(mariadb: guests.Guest) -> None:
    done = mariadb.call('config_set', overrides={'back_log': 123})
    assert done == {'applied': [], 'restart_required': ['back_log']}
    variable = shown(mariadb, 'back_log')
    assert (variable['override'], variable['restart_required']) == (123, True)
    assert variable['value'] != '123'
    mariadb.call('server_restart')
    variable = shown(mariadb, 'back_log')
    assert (variable['value'], variable['restart_required']) == ('123', False)
    done = mariadb.call('config_reset')
    assert done['restart_required'] == ['back_log']
    assert shown(mariadb, 'back_log')['restart_required'] is True


@pytest.mark.parametrize(
    ('overrides', 'effective'),
    [
        ({'general_log': 'on'}, '1'),
        ({'init_connect': 'SELECT "a\\b\', #1"'}, 'SELECT "a\\b\', #1"'),
        ({'long_query_time': 0.25}, '0.25'),
        ({'tx_isolation': 'read-committed'}, 'READ-COMMITTED'),
        ({'sql_mode': 'ansi_quotes,STRICT_ALL_TABLES'}, 'STRICT_ALL_TABLES'),
        ({'optimizer_switch': 'mrr=on'}, 'mrr=on'),
        ({'innodb_io_capacity': 300}, '300'),
    ],
)
def test_each_kind_of_value(
    mariadb: guests.Guest, overrides: dict[str, Any], effective: str
) -> None:
    ((name, _value),) = overrides.items()
    mariadb.call('config_set', overrides=overrides)
    assert effective in str(mariadb.query(f'SELECT @@GLOBAL.{name}')[0][0])
    # The file says the same.
    mariadb.call('server_restart')
    assert effective in str(mariadb.query(f'SELECT @@GLOBAL.{name}')[0][0])


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'no_such_thing': 1}, 'no_such_thing: MariaDB has no such variable'),
        ({'max_connections': 'many'}, "'many' is no whole number"),
        ({'max_connections': 0, 'back_log': -1}, 'max_connections: 0 .*; back_log: -1'),
        ({'transaction-isolation': 'none'}, "'none' is not one of READ-UNCOMMITTED"),
        ({'general_log': 'maybe'}, 'neither true nor false'),
        ({'datadir': '/tmp'}, 'the extension sets it by itself'),
        ({'init_connect': 'x\n[mysqld]'}, 'control character'),
        ({'long_query_time': 'nan'}, 'is not between'),
        ({'insert_id': 1}, 'for a session'),
    ],
)
def test_what_the_server_does_not_take_is_refused_and_nothing_changes(
    mariadb: guests.Guest, overrides: dict[str, Any], message: str
) -> None:
    given = {'max_connections': 88} | overrides
    with pytest.raises(errors.InvalidArgument, match=message):
        mariadb.call('config_set', overrides=given)
    assert mariadb.query('SELECT @@max_connections') == [(77,)]
    assert not [p for p in mariadb.call('config_show') if p['override'] is not None]


def test_prepare_takes_overrides_and_the_volume_keeps_them(
    new_guest: Callable[[str], guests.Guest],
) -> None:
    guest = new_guest('mariadb')
    guest.call(
        'prepare',
        memory=64,
        overrides={'back_log': 123, 'max_connections': 55},
        databases=[{'name': 'shop'}],
        users=[{'name': 'ann', 'password': 'hunter2', 'databases': ['shop']}],
        root_password='hunter2 too',
    )
    assert guest.query('SELECT @@back_log, @@max_connections') == [(123, 55)]
    assert guest.call('access_list', name='ann') == ['shop']
    assert guest.call('root_status') == {'enabled': True}
    guest.call('configure', config=OPERATOR)
    guest.call('server_restart')
    assert guest.query('SELECT @@back_log, @@max_connections') == [(123, 55)]
    log = (guest.folder / 'log' / 'error.log').read_text()
    assert 'Aborted' not in log
