# SPDX-License-Identifier: Apache-2.0
"""The rules: what heartbeats, outcomes and events change."""

from guestagent.conductor import state
from tests.unit.conductor import worlds


def test_the_first_heartbeat_makes_an_instance_up(make):
    world = worlds.World()

    changes = world.take(make(), now=50.0)

    assert changes.notices == [('i', 'instance.up', {'from': 'NEW'})]
    assert world.instance.last_seen == 50.0
    assert world.instance.down_at == 80.0
    assert world.take(make(sequence=2), now=60.0, down_after=5).notices == []
    assert world.instance.down_at == 65.0


def test_other_reports_leave_an_instance_new(make):
    world = worlds.World()

    changes = world.take(make('event'), make('outcome'), make('facts'))

    assert world.instance.state == state.NEW
    assert changes.notices == []


def test_many_heartbeats_of_an_instance_are_one_change(make):
    world = worlds.World()

    changes = world.take(
        *(
            make(sequence=number, status=status)
            for number, status in [(1, 'running'), (4, 'stopping'), (2, 'running')]
        )
    )

    assert list(changes.instances) == ['i']
    assert changes.notices == [('i', 'instance.stopped', {'from': 'NEW'})]


def test_a_repeated_or_older_heartbeat_changes_nothing(make):
    world = worlds.World()
    world.take(make(sequence=1), make(sequence=3, status='stopping'), now=50.0)

    for sequence in (1, 2, 3):
        assert world.take(make(sequence=sequence), now=60.0) == state.Changes()
    assert world.instance.last_seen == 50.0


def test_a_later_generation_is_newer_whatever_its_sequence(make):
    world = worlds.World()
    world.take(make(sequence=900))

    world.take(make('event', generation='two'))
    world.take(make(generation='two', sequence=1, agent_version='0.2.0'))
    world.take(make(generation='one', sequence=901))

    assert world.instance.agent_version == '0.2.0'
    assert world.known.generations == {('i', 'one', 'boot'): 1, ('i', 'two', 'boot'): 2}


def test_extensions_are_written_when_they_change(make):
    world = worlds.World()
    health = {'exec': {'version': '1.0', 'health': 'ok'}}
    worse = {'exec': {'version': '1.0', 'health': 'no shell'}}

    assert world.take(make(sequence=1, extensions=health)).extensions
    assert not world.take(make(sequence=2, extensions=health)).extensions
    changes = world.take(make(sequence=3, extensions=worse))
    assert changes.extensions['i']['exec'].health == 'no shell'
    assert world.take(make(sequence=4)).extensions == {'i': {}}


def test_an_outcome_of_another_digest_or_caller_is_another(make):
    world = worlds.World()
    world.take(
        make('outcome', sequence=1),
        make('outcome', sequence=2, digest='e'),
        make('outcome', sequence=3, caller='x'),
        make('outcome', sequence=4, outcome='failed'),
    )

    assert {key: outcome.outcome for key, (_, outcome) in world.outcomes.items()} == {
        ('i', '', 'c', 'd'): 'failed',
        ('i', '', 'c', 'e'): 'done',
        ('i', 'x', 'c', 'd'): 'done',
    }
