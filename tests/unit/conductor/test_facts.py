# SPDX-License-Identifier: Apache-2.0
"""Facts: which reports decide, what is missing, and what is not to be believed."""

from tests.unit.conductor import worlds


def test_a_fact_keeps_its_time_while_its_value_stays(make):
    world = worlds.World()
    world.take(make('facts', full=True, facts={'a': 1, 'b': 1}), now=10.0)
    world.take(
        make('facts', generation='two', full=True, facts={'a': 1, 'b': 2}), now=20.0
    )

    facts = world.known.facts['i']
    assert (facts['a'].updated, facts['b'].updated) == (10.0, 20.0)


def test_what_a_full_report_does_not_name_is_forgotten(make):
    world = worlds.World()
    world.take(make('facts', full=True, facts={'a': 1, 'b': 1}))

    changes = world.take(make('facts', sequence=2, full=True, facts={'b': 1}))

    assert changes.facts['i', 'a'] is None
    assert world.facts() == {'b': '1'}


def test_a_removed_fact_is_not_brought_back_by_an_older_report(make):
    world = worlds.World()
    world.take(make('facts', sequence=1, full=True, facts={}))
    world.take(make('facts', sequence=3, facts={'a': None}))

    world.take(make('facts', sequence=2, facts={'a': 1}))

    assert world.facts() == {}


def test_an_older_full_report_leaves_what_is_newer(make):
    world = worlds.World()
    world.take(make('facts', sequence=2, facts={'a': 2, 'b': 2}))

    world.take(make('facts', sequence=1, full=True, facts={'b': 1, 'c': 1}))

    assert world.facts() == {'a': '2', 'b': '2', 'c': '1'}


def test_a_gap_is_noted_and_closes_when_the_report_comes_late(make):
    world = worlds.World()
    world.take(make('facts', sequence=1, full=True), now=10.0)
    assert world.instance.facts_gap is None

    world.take(make('facts', sequence=3), now=20.0)
    world.take(make('facts', sequence=4), now=30.0)
    assert world.instance.facts_gap == 20.0
    world.take(make('facts', sequence=2), now=40.0)

    assert world.instance.facts_gap is None


def test_a_full_report_closes_all_gaps_before_it(make):
    world = worlds.World()
    world.take(make('facts', sequence=1, full=True), make('facts', sequence=5))
    assert world.instance.facts_gap is not None

    world.take(make('facts', sequence=9, full=True))
    assert world.instance.facts_gap is None
    # What comes late of before is no gap either.
    world.take(make('facts', sequence=7), make('facts', sequence=10))

    assert world.instance.facts_gap is None


def test_facts_are_missing_where_no_full_report_is_known(make):
    world = worlds.World()
    world.take(make('facts', sequence=2), now=10.0)
    assert world.instance.facts_gap == 10.0

    world.take(make('facts', sequence=1, full=True))
    assert world.instance.facts_gap is None
    world.take(make('heartbeat', generation='two'), now=30.0)
    assert world.instance.facts_gap == 30.0
    world.take(make('facts', generation='two', full=True))

    assert world.instance.facts_gap is None


def test_a_heartbeat_from_the_future_does_not_block_the_others(make):
    world = worlds.World()
    world.take(make(sequence=1), now=10.0)

    world.take(make(sequence=2**62, agent_version='x'), make(sequence=2), now=20.0)
    assert world.instance.last_seen == 20.0
    assert world.instance.agent_version == '0.1.0'
    world.take(make(sequence=3), now=30.0)

    assert (world.instance.last_seen, world.instance.heartbeat_sequence) == (30.0, 3)


def test_a_first_heartbeat_from_the_future_blocks_only_one(make):
    world = worlds.World()
    world.take(make(sequence=2**62), now=10.0)

    for sequence in (1, 2, 3):
        world.take(make(sequence=sequence), now=20.0 + sequence)

    assert (world.instance.last_seen, world.instance.heartbeat_sequence) == (23.0, 3)


def test_facts_from_the_future_are_left_alone(make):
    world = worlds.World()
    world.take(make('facts', sequence=1, full=True, facts={'a': 1}))

    world.take(make('facts', sequence=2**62, full=True, facts={'a': 99}))
    world.take(make('facts', sequence=2, facts={'a': 2}))

    assert world.facts() == {'a': '2'}
    assert world.instance.facts_gap is None


def test_facts_that_began_in_the_future_give_way(make):
    world = worlds.World()
    world.take(make('facts', sequence=2**62, full=True, facts={'a': 99, 'b': 99}))

    world.take(make('facts', sequence=1, full=True, facts={'a': 1}))
    world.take(make('facts', sequence=2, facts={'a': 2}), now=50.0)
    assert world.facts() == {'a': '2', 'b': '99'}
    assert world.instance.facts_gap == 50.0
    world.take(make('facts', sequence=3, full=True, facts={'a': 3}))

    assert world.facts() == {'a': '3'}
    assert world.instance.facts_gap is None
