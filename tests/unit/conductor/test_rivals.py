# SPDX-License-Identifier: Apache-2.0
"""Two agents with one name."""

from typing import Any

from tests.unit.conductor import worlds


def _beside(world: worlds.World, make, seconds: int, **newer: Any) -> list[Any]:
    """Let generation one go on beside the newer two; return what was noticed."""
    notices = []
    for second in range(seconds):
        now = 1000.0 + second
        first = make(generation='one', sequence=second + 2, interval=1)
        second_one = make(generation='two', sequence=second + 1, interval=1, **newer)
        for item in (first, second_one):
            notices += world.take(item, now=now).notices
    return [notice for notice in notices if notice[1] == 'instance.duplicate']


def test_two_generations_alive_are_a_conflict_told_once(make):
    world = worlds.World()
    world.take(make(interval=1), now=999.0)

    notices = _beside(world, make, 60)

    assert notices == [
        (
            'i',
            'instance.duplicate',
            {'generations': [2, 1], 'boot_ids': ['boot', 'boot']},
        )
    ]
    assert world.instance.conflict == 1012.0 - 1
    assert world.instance.heartbeat_generation == 2


def test_another_boot_id_is_another_generation(make):
    world = worlds.World()
    one, other = make(sequence=1, interval=1), make(sequence=1, interval=1)
    other = other._replace(boot_id='other')
    world.take(one, other, now=1000.0)

    for second in range(1, 30):
        world.take(
            make(sequence=second + 1, interval=1),
            make(sequence=second + 1, interval=1)._replace(boot_id='other'),
            now=1000.0 + second,
        )

    assert world.instance.conflict is not None
    assert (world.instance.boot_id, world.instance.rival_boot_id) == ('other', 'boot')


def test_what_was_on_its_way_is_no_conflict(make):
    world = worlds.World()
    world.take(make(interval=10), now=1000.0)
    world.take(make(generation='two', interval=10), now=1010.0)

    for sequence in (2, 3, 4, 5):
        world.take(make(sequence=sequence, interval=10), now=1011.0)
    world.take(make(sequence=6, interval=10, status='stopping'), now=1100.0)

    assert world.instance.conflict is None
    assert world.instance.state == 'UP'


def test_facts_of_two_agents_are_never_mixed(make):
    world = worlds.World()
    world.take(make('facts', generation='one', full=True, facts={'a': 1, 'b': 1}))
    world.take(make('facts', generation='two', full=True, facts={'a': 2}))

    for sequence in range(2, 10):
        world.take(
            make(
                'facts', generation='one', sequence=sequence, full=True, facts={'b': 3}
            ),
            make('facts', generation='two', sequence=sequence, facts={'a': 2}),
        )

    assert world.facts() == {'a': '2'}


def test_the_older_takes_the_place_of_a_newer_that_is_silent(make):
    world = worlds.World()
    world.take(make(interval=1), make('facts', full=True), now=1000.0)
    world.take(
        make(generation='two', interval=1, status='stopping', agent_version='2'),
        make('facts', generation='two', full=True, facts={'a': 2}),
        now=1001.0,
    )

    for second in range(2, 15):
        world.take(make(sequence=second, interval=1), now=1000.0 + second)

    assert world.instance.state == 'UP'
    assert world.instance.heartbeat_generation == 3
    assert world.known.generations['i', 'one', 'boot'] == 3
    assert world.instance.facts_gap is not None
    world.take(make('facts', sequence=2, full=True, facts={'a': 1}))
    assert world.facts() == {'a': '1'}
    assert world.instance.facts_gap is None


def test_a_conflict_ends_when_the_older_is_not_heard_any_more(make):
    world = worlds.World()
    world.take(make(interval=1), now=999.0)
    _beside(world, make, 20)
    assert world.instance.conflict is not None

    world.take(make(generation='two', sequence=50, interval=1), now=1050.0)

    assert world.instance.conflict is None


def test_an_event_is_known_by_its_id_whatever_number_it_comes_with(make):
    world = worlds.World()

    world.take(make('event', sequence=1, id='a', type='x.a'))
    world.take(make('event', generation='two', sequence=5, id='a', type='x.a'))
    # A guest that was put back gives a number again that it had given before.
    world.take(make('event', sequence=1, id='b', type='x.b'))

    assert [event.type for _order, event in world.events.values()] == ['x.a', 'x.b']


def test_who_knows_how_a_command_ended_is_believed(make):
    # Given a guest that was copied, or put back, while a command ran
    world = worlds.World()
    lost = {'outcome': 'interrupted', 'error': {'code': 'interrupted'}}
    world.take(make('outcome', 'i', 'one', 1))
    world.take(make('outcome', 'i', 'two', 1, **lost))
    world.take(make('outcome', 'i', 'one', 2, command_id='other'))
    world.take(make('outcome', 'i', 'two', 2, command_id='third', **lost))
    world.take(make('outcome', 'i', 'one', 3, command_id='third', outcome='failed'))

    found = {key[2]: data.outcome for key, (_order, data) in world.outcomes.items()}

    assert found == {'c': 'done', 'other': 'done', 'third': 'failed'}


def test_sealed_heartbeats_that_were_recorded_revive_nobody(make):
    world = worlds.World()
    world.take(make(generation='one', interval=10), now=1000.0)
    world.take(make(generation='two', interval=10), now=2000.0)
    assert world.instance.heartbeat_generation == 2

    for second in range(0, 600, 10):
        old = make(generation='one', sequence=second + 2, interval=10)
        world.take(old._replace(sealed_at=1000.0 + second), now=9000.0 + second)
    assert world.instance.heartbeat_generation == 2
    assert world.instance.last_seen == 2000.0

    # One that goes on is told from them by its clock.
    for second in range(0, 600, 10):
        live = make(generation='one', sequence=second + 1000, interval=10)
        world.take(live._replace(sealed_at=9000.0 + second), now=9000.0 + second)
    assert world.instance.last_seen > 9000.0
