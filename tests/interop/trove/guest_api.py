# SPDX-License-Identifier: Apache-2.0
"""Each method of Trove's guest API, called through it, and what it has changed.

The tests of a guest share its server: each leaves it running and serving.
"""

from __future__ import annotations

import base64
import json
import pathlib
import uuid

import pytest
from guestagent_trove import cipher

from tests.interop.trove import guests
from tests.interop.trove import plane as planes

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

ROOT = 'hunter2-root'
#: Where tests call methods.
TESTS = ('guest_api', 'server', 'storage', 'volumes', 'backups')


def user(name: str, *databases: str, password: str = 'hunter2') -> dict[str, object]:
    return {
        '_name': name,
        '_host': '%',
        '_password': password,
        '_databases': [{'_name': one} for one in databases],
        '_is_root': False,
    }


def names(found: list[list[dict[str, str]]]) -> list[str]:
    return [one['_name'] for one in found[0]]


def test_no_method_is_left_out(plane: planes.Plane) -> None:
    here = pathlib.Path(__file__).parent
    text = ''.join((here / f'{name}.py').read_text() for name in TESTS)
    methods = plane.ask('methods')

    assert 'prepare' in methods
    assert [name for name in methods if f"'{name}'" not in text] == []


def test_ping(guest: guests.Guest) -> None:
    assert guest.call('rpc_ping') is True


def test_prepare_has_made_all_from_nothing(guest: guests.Guest) -> None:
    # 'prepare' itself is cast by the fixture.
    guest.wait(lambda: guest.query("show databases like 'shop'"), 'the database')
    guest.wait(lambda: guest.login('anna', 'hunter2-anna'), 'the user')
    assert guest.query('select @@max_connections, @@wait_timeout') == ['77\t1234']
    guest.wait(lambda: guest.has_ended('dbaas.instance_create.end'), 'the notification')
    seen = guest.plane.rows(
        'select sent from conductor_lastseen where instance_id = %s', guest.id
    )
    assert seen


def test_databases(guest: guests.Guest) -> None:
    made = [{'_name': name} for name in ('d1', 'd2', 'd`"3')]
    guest.cast('create_database', 'DBaaSDatabaseCreate', databases=made)
    guest.wait(lambda: guest.query("show databases like 'd%3'"), 'the last of them')

    assert names(guest.call('list_databases')) == ['d1', 'd2', 'd`"3', 'shop']
    page = guest.call('list_databases', limit=1, marker='d1')
    assert (names(page), page[1]) == (['d2'], 'd2')
    page = guest.call('list_databases', limit=1, marker='d1', include_marker=True)
    assert names(page) == ['d1']
    guest.cast('delete_database', database={'_name': 'd`"3'})
    guest.wait(lambda: not guest.query("show databases like 'd%3'"), 'its end')
    guest.wait(lambda: guest.has_ended('dbaas.database_create.end'), 'its notification')


def test_users(guest: guests.Guest) -> None:
    made = [user('u1', 'shop'), user("u'\\2")]
    guest.cast('create_user', 'DBaaSUserCreate', users=made)
    guest.wait(lambda: guest.login('u1', 'hunter2'), 'the user')
    guest.wait(lambda: guest.login("u'\\2", 'hunter2'), 'the other user')

    assert names(guest.call('list_users')) == ['anna', "u'\\2", 'u1']
    page = guest.call('list_users', limit=1, marker='anna@%')
    assert page[1] is not None
    found = guest.call('get_user', username='u1', hostname='%')
    assert [one['_name'] for one in found['_databases']] == ['shop']
    assert found['_password'] is None
    assert guest.call('get_user', username='nobody', hostname='%') is None

    passwords = [{'name': 'u1', 'host': '%', 'password': 'hunter2-new'}]
    guest.cast('change_passwords', users=passwords)
    guest.wait(lambda: guest.login('u1', 'hunter2-new'), 'the new password')
    guest.cast(
        'update_attributes', username='u1', hostname='%', user_attrs={'name': 'u3'}
    )
    guest.wait(lambda: guest.login('u3', 'hunter2-new'), 'the new name')
    guest.cast('delete_user', user=user('u3'))
    guest.wait(lambda: not guest.login('u3', 'hunter2-new'), 'its end')


def test_access(guest: guests.Guest) -> None:
    who = {'username': 'anna', 'hostname': '%'}
    guest.call('grant_access', databases=['mine'], **who)
    found = guest.call('list_access', **who)
    assert {one['_name'] for one in found} == {'mine', 'shop'}
    guest.call('revoke_access', database='mine', **who)
    found = guest.call('list_access', **who)
    assert {one['_name'] for one in found} == {'shop'}


def test_a_mistake_in_a_cast_is_a_fault_in_troves_tables(guest: guests.Guest) -> None:
    guest.cast('delete_database', 'DBaaSDatabaseDelete', database={'_name': 'none'})

    def faults() -> list[object]:
        return guest.plane.rows(
            'select message from instance_faults where instance_id = %s', guest.id
        )

    guest.wait(faults, 'the fault')


def test_root(guest: guests.Guest) -> None:
    made = guest.call('enable_root')
    assert made['_name'] == 'root'
    assert guest.login('root', made['_password'])
    made = guest.call('enable_root_with_password', root_password=ROOT)
    assert guest.login('root', ROOT)
    assert guest.call('get_root_password') == ROOT
    assert guest.call('is_root_enabled') is True
    guest.call('disable_root')
    assert guest.call('is_root_enabled') is False
    assert not guest.login('root', ROOT)


def test_figures(guest: guests.Guest) -> None:
    assert guest.call('get_hwinfo')['num_cpus'] >= 1
    assert guest.call('get_diagnostics')['vm_rss'] > 1000
    stats = guest.call('get_volume_info')
    assert 0 < stats['used'] < stats['total']
    assert stats['free'] > 1024**2


def test_overrides(guest: guests.Guest) -> None:
    guest.call('update_overrides', overrides={'max_connections': 88})
    guest.call('apply_overrides', overrides={'max_connections': 88})
    assert guest.query('select @@max_connections') == ['88']
    guest.call('update_overrides', overrides={}, remove=True)
    with pytest.raises(planes.Failed, match='max_connections'):
        guest.call('update_overrides', overrides={'max_connections': 'many'})


def test_modules(guest: guests.Guest) -> None:
    module = {
        'id': str(uuid.uuid4()),
        'name': 'm',
        'type': 'ping',
        'tenant': None,
        'datastore': 'all',
        'datastore_version': 'all',
        'contents': base64.b64encode(b'message=hello').decode(),
        'md5': 'x',
        'auto_apply': False,
        'visible': True,
        'is_admin': False,
    }
    [applied] = guest.call('module_apply', modules=[{'module': module}])
    assert (applied['status'], applied['message']) == ('OK', 'hello')
    [listed] = guest.call('module_list', include_contents=True)
    assert listed['contents'] == module['contents']
    guest.call('module_remove', module={'module': module})
    assert guest.call('module_list', include_contents=False) == []


def test_an_agent_is_not_updated_over_the_bus(guest: guests.Guest) -> None:
    with pytest.raises(planes.Failed, match='update its package'):
        guest.call('update_guest')


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_what_is_not_sealed_with_the_key_gets_no_answer(guest: guests.Guest) -> None:
    key = next(
        line.partition('=')[2]
        for line in (guest.config / 'guest_info.conf').read_text().splitlines()
        if line.startswith('instance_rpc_encr_key')
    )
    right, wrong = cipher.Cipher(key), cipher.Cipher(key[::-1])
    context = {'_context_context': right.encrypt('{}')}
    requests = {
        'a wrong key': {'_context_context': wrong.encrypt('{}'), 'args': {}},
        'plain arguments': {**context, 'args': {'limit': 1}},
        'a plain context': {'_context_user': 'me', 'args': {}},
        'no context': {'args': {}},
        'the key': {**context, 'args': {'limit': right.encrypt('1')}},
    }
    [(name, reply)] = guest.raw('list_databases', requests)

    assert name == 'the key'
    assert json.loads(right.decrypt(reply['result']))[0]


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_trove_is_the_caller_in_the_audit_log(guest: guests.Guest) -> None:
    lines = (guest.folder / 'state' / 'audit.log').read_text().splitlines()
    records = [json.loads(line[line.index('{') :]) for line in lines if '{' in line]

    assert {
        (one['caller'], one['proven'])
        for one in records
        if one.get('command', '').startswith('trove.')
    } == {('trove', True)}
