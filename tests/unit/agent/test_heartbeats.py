# SPDX-License-Identifier: Apache-2.0
"""What heartbeats say, and when they say all of it."""

import pytest

from guestagent.agent import heartbeats, identity

LOST = {'dropped': 0, 'unsaved': 0}
HEAD = 'a' * 64


class Guest:
    """A guest whose heartbeats the bus takes, or not."""

    def __init__(self):
        self.extensions = {'exec': {'version': '1.0', 'health': 'ok'}}
        self.made = heartbeats.Heartbeats(
            identity.Identity('vm'), lambda: dict(self.extensions)
        )

    def beat(self, taken=True, lost=LOST, audit=None):
        data = self.made.make('running', 30.0, lost, audit)
        if taken:
            self.made.confirmed(data)
        return data


@pytest.fixture
def guest():
    return Guest()


def test_all_is_said_until_the_bus_has_it_and_then_its_digest(guest):
    first, second = guest.beat(taken=False), guest.beat()
    third = guest.beat()

    assert first == second
    assert first.keys() == {
        'status',
        'interval',
        'digest',
        *LOST,
        'agent_version',
        'started',
        'extensions',
    }
    assert third == {'status': 'running', 'interval': 30.0, 'digest': first['digest']}


def test_all_is_said_when_something_has_changed(guest):
    guest.beat()
    guest.extensions['exec'] = {'version': '1.0', 'health': 'no shell'}

    changed = guest.beat()
    guest.beat()
    guest.extensions['exec'] = {'version': '1.0', 'health': 'ok'}
    back = guest.beat()

    assert changed['extensions']['exec']['health'] == 'no shell'
    assert back['extensions']['exec']['health'] == 'ok'
    assert changed['digest'] != back['digest']


def test_a_change_that_did_not_arrive_is_said_again(guest):
    guest.beat()
    guest.extensions['sso'] = {'version': '1.0', 'health': 'ok'}

    guest.beat(taken=False)

    assert 'sso' in guest.beat()['extensions']
    assert 'extensions' not in guest.beat()


def test_all_is_said_when_asked_and_now_and_then(guest):
    guest.beat()
    guest.made.forget()
    assert 'extensions' in guest.beat()

    said = ['extensions' in guest.beat() for _ in range(2 * heartbeats.SHORT_MAX + 2)]

    assert said == 2 * ([False] * heartbeats.SHORT_MAX + [True])


def test_what_was_lost_is_said_by_short_ones_too(guest):
    guest.beat()

    assert guest.beat(lost={'dropped': 3, 'unsaved': 0})['dropped'] == 3
    assert 'dropped' not in guest.beat()


def test_the_head_of_the_audit_log_is_said_when_it_is_another(guest):
    named = {'length': 1, 'head': HEAD}
    assert guest.beat(audit=(1, HEAD))['audit'] == named
    assert guest.beat(audit=(1, HEAD))['audit'] == 1

    moved = guest.beat(taken=False, audit=(2, 'b' * 64))
    again = guest.beat(audit=(2, 'b' * 64))

    assert moved['audit'] == again['audit'] == {'length': 2, 'head': 'b' * 64}
    assert 'extensions' not in again
    assert guest.beat(audit=(2, 'b' * 64))['audit'] == 2
    guest.made.forget()
    assert guest.beat(audit=(2, 'b' * 64))['audit']['length'] == 2


def test_another_process_has_another_digest():
    assert Guest().beat()['digest'] != Guest().beat()['digest']
