# SPDX-License-Identifier: Apache-2.0
"""What is answered, in Trove's form, and what is refused."""

import base64

import pytest

from guestagent import errors, extension, testing
from tests.unit.extensions.trove.standin import MIB, call


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'enable': True, 'disable': True}, 'one of them'),
        ({'enable': False, 'disable': False}, 'one of them'),
        ({'enable': True, 'disable': False, 'mode': 'mtls'}, "mode 'mtls'"),
    ],
)
def test_tls_that_cannot_be_is_refused(guest, arguments, said):
    with pytest.raises(errors.InvalidArgument, match=said):
        call(guest, 'ssl_action', **{'mode': 'basic', 'container': {}, **arguments})


def test_lists_have_troves_form(guest, host):
    host.results['database_list'] = {
        'items': [{'name': 'a', 'character_set': 'utf8', 'collate': ''}],
        'next_marker': 'a',
    }
    host.results['user_list'] = {
        'items': [{'name': 'u', 'host': '%', 'databases': ['a']}],
        'next_marker': None,
    }

    assert call(guest, 'list_databases', limit=1) == [
        [{'_name': 'a', '_character_set': 'utf8', '_collate': None}],
        'a',
    ]
    [[user], marker] = call(guest, 'list_users')
    assert user['_databases'] == [
        {'_name': 'a', '_character_set': None, '_collate': None}
    ]
    assert (user['_password'], marker) == (None, None)


def test_free_space_is_in_bytes_and_the_rest_in_gigabytes(guest):
    stats = call(guest, 'get_filesystem_stats', fs_path=None)

    assert (stats['total'], stats['used']) == (3.0, 1.5)
    assert stats['free'] == 1024 * MIB


def test_modules_are_applied_in_their_order_listed_and_removed(guest, host):
    def module(name, **more):
        contents = base64.b64encode(f'message={name}'.encode()).decode()
        return {
            'module': {
                'id': name,
                'name': name,
                'type': 'ping',
                'contents': contents,
                'visible': True,
                **more,
            }
        }

    wanted = [module('b', apply_order=2), module('a', apply_order=1)]
    applied = call(guest, 'module_apply', modules=wanted)

    assert [(one['name'], one['status'], one['message']) for one in applied] == [
        ('a', 'OK', 'a'),
        ('b', 'OK', 'b'),
    ]
    values = {'is_admin': True}
    listed = testing.call(
        guest,
        'module_list',
        include_contents=True,
        context=extension.Context(values=values),
    )
    assert {one['name']: base64.b64decode(one['contents']) for one in listed} == {
        'a': b'message=a',
        'b': b'message=b',
    }
    call(guest, 'module_remove', module=wanted[0])
    assert [one['name'] for one in call(guest, 'module_list')] == ['a']
    with pytest.raises(errors.InvalidArgument, match='has not been applied'):
        call(guest, 'module_remove', module=wanted[0])


@pytest.mark.parametrize('identifier', ['', '..', 'a/b', None, 7])
def test_a_module_stays_in_its_folder(guest, identifier):
    module = {'module': {'id': identifier, 'name': 'x', 'contents': 'eA=='}}
    with pytest.raises(errors.InvalidArgument, match='no usable id'):
        call(guest, 'module_apply', modules=[module])


def test_a_source_and_its_replica_understand_each_other(guest, host):
    host.results['replication_account'] = {
        'host': '192.0.2.1',
        'port': 3306,
        'user': 'replica',
        'password': 'hunter2',
        'position': '0-1-5',
        'tls': True,
        'ca': 'PEM',
        'slot': '',
    }
    snapshot = call(guest, 'get_replication_snapshot', snapshot_info=None)
    call(guest, 'attach_replica', replica_info=snapshot, slave_config=None)

    assert snapshot['replication_strategy'] == 'MariaDBGTIDReplication'
    assert dict(host.asked)['replication_attach'] == {
        'source': {**host.results['replication_account'], 'position': ''}
    }


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'replication_strategy': 'Other'}, 'replicates by Other'),
        ({'replica_conf': {}}, 'not enough'),
        ({'dataset': {'dataset_size': 99}}, '99 GB'),
    ],
)
def test_a_source_that_does_not_fit_is_refused(guest, change, said):
    source = {
        'master': {'host': 'h', 'port': 1},
        'replica_conf': {'replication_user': {'name': 'n', 'password': 'p'}},
        **change,
    }
    with pytest.raises(errors.GuestAgentError, match=said):
        call(guest, 'attach_replica', replica_info=source, slave_config=None)
