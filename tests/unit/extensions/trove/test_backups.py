# SPDX-License-Identifier: Apache-2.0
"""Backups: what is asked of ``datastore``, and what the conductor is told."""

import contextlib

import pytest

from guestagent import errors, testing
from tests.unit.extensions.trove.standin import call, context


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


def test_how_a_backup_has_ended_is_told_again(start, host):
    host.results['backup_create'] = errors.StorageError('the storage has gone')
    with start() as guest, pytest.raises(errors.StorageError):
        call(guest, 'create_backup', backup_info={'id': 'b1'})
    with start() as guest:
        before = len(host.told('update_backup'))
        for _ in range(3):
            guest.report()

    again = host.told('update_backup')[before - 1 :]
    assert [one['state'] for one in again] == ['FAILED'] * 3
    assert len({one['sent'] for one in again}) == 3
