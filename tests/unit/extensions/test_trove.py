# SPDX-License-Identifier: Apache-2.0
"""What the extension trove asks of datastore, and tells Trove's conductor."""

import base64
import contextlib

import pytest
from guestagent_trove import extension as trove
from guestagent_trove import state as states

from guestagent import errors, extension, testing

NOTIFICATION = {'notification_classname': 'some.Class', 'tenant_id': 't'}
CONTEXT = {
    'user_id': 'me',
    'auth_token': 'hunter2',
    'service_catalog': [
        {'type': 'object-store', 'endpoints': [{'publicURL': 'http://swift/v1/AUTH_t'}]}
    ],
    'trove_notification': NOTIFICATION,
}
MIB = 1024**2
STATS = {
    'block_size': 4096,
    'total_blocks': 10,
    'free_blocks': 5,
    'avail_blocks': 4,
    'total': 3 * 1024 * MIB,
    'free': 1024 * MIB,
    'used': 1536 * MIB,
}


class Datastore(testing.Host):
    """Answers as datastore would, and notes what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.results = {
            'status': {'state': 'healthy', 'restart_required': []},
            'root_status': {'enabled': False},
            'volume_stats': STATS,
        }

    def call(self, extension, method, arguments, context):
        assert extension == 'datastore'
        self.asked.append((method, dict(arguments)))
        result = self.results.get(method)
        if isinstance(result, Exception):
            raise result
        return result

    def told(self, method):
        """Return the arguments of the casts of this method."""
        return [one['args'] for one in self.casts if one['method'] == method]

    def statuses(self):
        return [one['payload']['service_status'] for one in self.told('heartbeat')]


@pytest.fixture
def host():
    return Datastore()


@pytest.fixture
def start(tmp_path, host):
    def start():
        return testing.started(
            trove.Trove,
            host=host,
            options={
                'guest_id': 'vm',
                'datastore_manager': 'mariadb',
                'state_folder': str(tmp_path / 'state'),
                'replication_strategy': 'MariaDBGTIDReplication',
            },
        )

    return start


@pytest.fixture
def guest(start):
    with start() as made:
        yield made


def call(guest, method, **arguments):
    return testing.call(guest, method, context=context(), **arguments)


def context():
    return extension.Context(values=CONTEXT)


def test_prepare_goes_from_building_to_healthy_and_tells_its_end(guest, host):
    call(
        guest,
        'prepare',
        packages=['a'],
        memory_mb=512,
        mount_point='/mnt',
        overrides={'a': 1},
        databases=[{'_name': 'db', '_character_set': 'utf8', '_collate': None}],
        users=[{'_name': 'u', '_host': '%', '_password': 'p', '_databases': []}],
        root_password='hunter2',
    )

    assert host.statuses() == ['building', 'healthy']
    asked = dict(host.asked)
    assert asked['prepare'] == {
        'packages': ['a'],
        'memory': 512,
        'mount_point': '/mnt',
        'overrides': {'a': 1},
    }
    assert asked['database_create'] == {
        'databases': [{'name': 'db', 'character_set': 'utf8'}]
    }
    assert asked['user_create'] == {
        'users': [{'name': 'u', 'host': '%', 'password': 'p'}]
    }
    assert asked['root_enable'] == {'password': 'hunter2'}
    [end] = host.told('notify_end')
    assert end['serialized_notification'] == {**NOTIFICATION, 'instance_id': 'vm'}
    [sent] = [one for one in host.casts if one['method'] == 'notify_end']
    assert 'auth_token' not in sent['context']
    assert sent['context']['trove_notification']['instance_id'] == 'vm'


def test_a_prepare_that_fails_ends_as_failed_to_spawn(guest, host):
    host.results['prepare'] = errors.GuestError('no room')
    with pytest.raises(errors.GuestError):
        call(guest, 'prepare')

    assert host.statuses() == ['building', 'failed to spawn']
    [error] = host.told('notify_exc_info')
    assert error['message'] == 'no room'
    assert error['serialized_notification']['instance_id'] == 'vm'
    assert guest.state.phase == states.FAILED


def test_what_the_user_wants_in_it_costs_no_instance(guest, host):
    host.results['user_create'] = errors.InvalidArgument('a bad name')
    call(guest, 'prepare', users=[{'_name': 'u'}])

    assert host.statuses()[-1] == 'healthy'
    assert host.told('notify_end')


def test_a_restored_root_is_reported(guest, host):
    host.results['root_status'] = {'enabled': True}
    location = 'http://swift/v1/AUTH_t/backups/b1.zst'
    info = {'id': 'b1', 'location': location, 'checksum': 'c'}
    call(guest, 'prepare', backup_info=info, root_password='hunter2')

    assert dict(host.asked)['prepare']['restore'] == {
        'location': location,
        'checksum': 'c',
        'storage': 'swift',
        'target': {
            'container': 'backups',
            'url': 'http://swift/v1/AUTH_t',
            'token': 'hunter2',
        },
    }
    assert host.told('report_root') == [{'instance_id': 'vm'}]
    assert 'root_enable' not in dict(host.asked)


def test_a_prepare_cut_short_ends_as_failed_to_spawn(start, host):
    with start() as guest, contextlib.ExitStack() as cut:
        cut.enter_context(guest.telling(context(), 'prepare'))
        guest.state.set(phase=states.BUILDING)
        left = cut.pop_all()  # as if the agent had gone
    with start() as again:
        again.beat()

    assert host.statuses() == ['failed to spawn']
    assert len(host.told('notify_exc_info')) == 1
    del left


def test_a_server_that_served_when_its_prepare_was_cut_short_stays(start, host):
    with start() as guest, contextlib.ExitStack() as cut:
        cut.enter_context(guest.telling(context(), 'prepare'))
        guest.state.set(phase=states.READY)
        left = cut.pop_all()
    with start() as again:
        again.beat()

    assert host.statuses() == ['healthy']
    assert len(host.told('notify_exc_info')) == 1
    del left


def test_a_prepare_cut_short_before_it_began_does_too(guest, host):
    guest.interrupted('prepare', 'some-id')

    assert host.statuses() == ['failed to spawn']


def test_a_backup_cut_short_is_failed(start, host):
    with start() as guest, contextlib.ExitStack() as cut:
        cut.enter_context(guest.telling(context(), 'b1'))
        left = cut.pop_all()
    with start():
        pass

    [update] = host.told('update_backup')
    assert (update['backup_id'], update['state']) == ('b1', 'FAILED')
    assert len(host.told('notify_exc_info')) == 1
    del left


def test_a_backup_that_comes_back_after_a_crash_is_failed(guest, host):
    with pytest.raises(errors.Interrupted):
        testing.call(guest, 'create_backup', backup_info={'id': 'b1'})

    assert [one['state'] for one in host.told('update_backup')] == ['FAILED']
    assert not [one for one in host.asked if one[0] == 'backup_create']


@pytest.mark.parametrize(('checksum', 'kept'), [('c' * 32, 'c' * 32), ('c' * 64, None)])
def test_a_backup_is_building_then_completed(guest, host, checksum, kept):
    host.results['backup_create'] = {
        'location': 'http://swift/v1/AUTH_t/b/b1',
        'checksum': checksum,
        'type': 'incremental',
    }
    parent = {'location': 'http://swift/v1/AUTH_t/b/b0', 'checksum': 'x'}
    call(
        guest,
        'create_backup',
        backup_info={'id': 'b1', 'parent': parent, 'swift_container': 'b'},
    )

    building, completed = host.told('update_backup')
    assert (building['state'], building['size']) == ('BUILDING', 1.5)
    assert completed['state'] == 'COMPLETED'
    assert completed['checksum'] == kept
    assert completed['backup_type'] == 'incremental'
    assert building['sent'] < completed['sent']
    asked = dict(host.asked)['backup_create']
    assert asked['parent'] == parent
    assert asked['target'] == {
        'container': 'b',
        'url': 'http://swift/v1/AUTH_t',
        'token': 'hunter2',
    }
    assert host.told('notify_end')


def test_a_backup_that_fails_is_failed(guest, host):
    host.results['backup_create'] = errors.StorageError('the storage has gone')
    with pytest.raises(errors.StorageError):
        call(guest, 'create_backup', backup_info={'id': 'b1'})

    assert [one['state'] for one in host.told('update_backup')] == [
        'BUILDING',
        'FAILED',
    ]
    assert host.told('notify_exc_info')[0]['message'] == 'the storage has gone'


def test_nothing_is_said_before_prepare(guest, host):
    guest.report()

    assert not host.casts


@pytest.mark.parametrize(
    ('state', 'told'),
    [
        ('healthy', 'healthy'),
        ('running', 'running'),
        ('shutdown', 'shutdown'),
        ('crashed', 'crashed'),
        ('new', 'unknown'),
    ],
)
def test_the_status_is_told_in_troves_words(guest, host, state, told):
    guest.state.set(phase=states.READY)
    host.results['status'] = {'state': state}
    guest.report()

    assert host.statuses() == [told]
    assert host.casts[0]['latest']


def test_a_status_that_nobody_knows_is_unknown(guest, host):
    guest.state.set(phase=states.READY)
    host.results['status'] = errors.ExtensionUnavailable('not loaded')
    guest.report()

    assert host.statuses() == ['unknown']


def test_a_restart_is_required_until_there_is_one(guest, host):
    guest.state.set(phase=states.READY)
    log = {'name': 'slow', 'kind': 'USER', 'enabled': False, 'size': 0}
    host.results['log_list'] = [log]
    host.results['log_enable'] = {'restart_required': True}
    host.results['log_show'] = errors.InvalidArgument('nothing says where Swift is')
    shown = call(guest, 'guest_log_action', log_name='slow', enable=True)
    guest.report()
    call(guest, 'restart')

    assert (shown['status'], shown['published']) == ('Disabled', 0)
    assert host.statuses() == ['restart required', 'restart required', 'healthy']


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


def test_another_change_is_waited_for(guest, host, monkeypatch):
    answers = iter([errors.Transient('busy'), {'state': 'shutdown'}])

    def answer(extension, method, arguments, context):
        result = next(answers)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(host, 'call', answer)

    assert guest.ask('stop') == {'state': 'shutdown'}


def test_without_an_id_it_does_not_start(tmp_path):
    with (
        pytest.raises(errors.ConfigError, match='guest_id is not set'),
        testing.started(trove.Trove, options={'state_folder': str(tmp_path)}),
    ):
        pass
