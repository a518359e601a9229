# SPDX-License-Identifier: Apache-2.0
"""What ``prepare`` and the server's state become in Trove's words."""

import contextlib

import pytest
from guestagent_trove import extension as trove
from guestagent_trove import state as states

from guestagent import errors, testing
from tests.unit.extensions.trove.standin import NOTIFICATION, call, context


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
