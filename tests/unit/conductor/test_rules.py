# SPDX-License-Identifier: Apache-2.0
"""The rules: what reports change, in any order and however often they come."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from guestagent.conductor import report, rules, state


@dataclasses.dataclass
class World:
    """A conductor's memory in place of its database."""

    known: state.Known = dataclasses.field(default_factory=lambda: state.Known({}))
    events: dict[Any, report.Event] = dataclasses.field(default_factory=dict)
    outcomes: dict[Any, Any] = dataclasses.field(default_factory=dict)
    extensions: dict[str, Any] = dataclasses.field(default_factory=dict)

    def take(
        self, *batch: report.Report, now: float = 100.0, down_after: float = 0.0
    ) -> state.Changes:
        for item in batch:
            self.known.instances.setdefault(
                item.instance, state.Instance(item.instance, state.NEW, now, now)
            )
        changes = rules.decide(
            batch, self.known, now, rules.Settings(down_after, conflict_after=10.0)
        )
        for key, event in changes.events.items():
            self.events.setdefault(key, event)
        self.outcomes.update(changes.commands)
        self.extensions.update(changes.extensions)
        return changes

    @property
    def instance(self) -> state.Instance:
        [found] = self.known.instances.values()
        return found

    def facts(self) -> dict[str, str]:
        return {
            name: fact.value
            for name, fact in self.known.facts.get('i', {}).items()
            if fact.value is not None
        }


def test_the_first_heartbeat_makes_an_instance_up(make):
    world = World()

    changes = world.take(make(), now=50.0)

    assert changes.notices == [('i', 'instance.up', {'from': 'NEW'})]
    assert world.instance.last_seen == 50.0
    assert world.instance.down_at == 80.0
    assert world.take(make(sequence=2), now=60.0, down_after=5).notices == []
    assert world.instance.down_at == 65.0


def test_other_reports_leave_an_instance_new(make):
    world = World()

    changes = world.take(make('event'), make('outcome'), make('facts'))

    assert world.instance.state == state.NEW
    assert changes.notices == []


def test_many_heartbeats_of_an_instance_are_one_change(make):
    world = World()

    changes = world.take(
        *(
            make(sequence=number, status=status)
            for number, status in [(1, 'running'), (4, 'stopping'), (2, 'running')]
        )
    )

    assert list(changes.instances) == ['i']
    assert changes.notices == [('i', 'instance.stopped', {'from': 'NEW'})]


def test_a_repeated_or_older_heartbeat_changes_nothing(make):
    world = World()
    world.take(make(sequence=1), make(sequence=3, status='stopping'), now=50.0)

    for sequence in (1, 2, 3):
        assert world.take(make(sequence=sequence), now=60.0) == state.Changes()
    assert world.instance.last_seen == 50.0


def test_a_later_generation_is_newer_whatever_its_sequence(make):
    world = World()
    world.take(make(sequence=900))

    world.take(make('event', generation='two'))
    world.take(make(generation='two', sequence=1, agent_version='0.2.0'))
    world.take(make(generation='one', sequence=901))

    assert world.instance.agent_version == '0.2.0'
    assert world.known.generations == {('i', 'one', 'boot'): 1, ('i', 'two', 'boot'): 2}


def test_extensions_are_written_when_they_change(make):
    world = World()
    health = {'exec': {'version': '1.0', 'health': 'ok'}}
    worse = {'exec': {'version': '1.0', 'health': 'no shell'}}

    assert world.take(make(sequence=1, extensions=health)).extensions
    assert not world.take(make(sequence=2, extensions=health)).extensions
    changes = world.take(make(sequence=3, extensions=worse))
    assert changes.extensions['i']['exec'].health == 'no shell'
    assert world.take(make(sequence=4)).extensions == {'i': {}}


def test_a_fact_keeps_its_time_while_its_value_stays(make):
    world = World()
    world.take(make('facts', full=True, facts={'a': 1, 'b': 1}), now=10.0)
    world.take(
        make('facts', generation='two', full=True, facts={'a': 1, 'b': 2}), now=20.0
    )

    facts = world.known.facts['i']
    assert (facts['a'].updated, facts['b'].updated) == (10.0, 20.0)


def test_what_a_full_report_does_not_name_is_forgotten(make):
    world = World()
    world.take(make('facts', full=True, facts={'a': 1, 'b': 1}))

    changes = world.take(make('facts', sequence=2, full=True, facts={'b': 1}))

    assert changes.facts['i', 'a'] is None
    assert world.facts() == {'b': '1'}


def test_a_removed_fact_is_not_brought_back_by_an_older_report(make):
    world = World()
    world.take(make('facts', sequence=1, full=True, facts={}))
    world.take(make('facts', sequence=3, facts={'a': None}))

    world.take(make('facts', sequence=2, facts={'a': 1}))

    assert world.facts() == {}


def test_an_older_full_report_leaves_what_is_newer(make):
    world = World()
    world.take(make('facts', sequence=2, facts={'a': 2, 'b': 2}))

    world.take(make('facts', sequence=1, full=True, facts={'b': 1, 'c': 1}))

    assert world.facts() == {'a': '2', 'b': '2', 'c': '1'}


def test_an_outcome_of_another_digest_or_caller_is_another(make):
    world = World()
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


# --- Any order, any repeats -----------------------------------------------------

_NAMES = st.sampled_from('abc')
_FACTS = st.tuples(
    st.just('facts'),
    st.fixed_dictionaries(
        {
            'full': st.booleans(),
            'facts': st.dictionaries(_NAMES, st.none() | st.integers(0, 3)),
        }
    ),
)
_DATA = st.one_of(
    _FACTS,
    st.tuples(
        st.just('outcome'),
        st.fixed_dictionaries(
            {
                'command_id': _NAMES,
                'caller': st.sampled_from(['', 'x']),
                'outcome': st.sampled_from(['done', 'failed']),
            }
        ),
    ),
    st.tuples(
        st.just('event'), st.fixed_dictionaries({'type': _NAMES.map('test.{}'.format)})
    ),
    st.tuples(
        st.just('heartbeat'),
        st.fixed_dictionaries(
            {
                'status': st.sampled_from(['running', 'stopping']),
                'agent_version': st.integers(0, 3).map(str),
                'extensions': st.dictionaries(
                    _NAMES, st.just({'version': '1.0', 'health': 'ok'})
                ),
            }
        ),
    ),
)


@st.composite
def _histories(draw, make):
    """Draw all that a guest reports over three generations, in order.

    Facts have the hardest rules: every other guest reports nothing else.
    """
    kinds = draw(st.sampled_from([_DATA, _FACTS]))
    history = []
    for generation in ('one', 'two', 'three'):
        sequences: dict[str, int] = {}
        for kind, data in draw(st.lists(kinds, max_size=6)):
            sequences[kind] = sequences.get(kind, 0) + 1
            history.append(make(kind, 'i', generation, sequences[kind], **data))
    return history


def _summary(world: World) -> Any:
    instance = world.known.instances.get('i')
    return (
        world.facts(),
        world.outcomes,
        world.events,
        world.extensions.get('i', {}),
        instance
        and (
            instance.state,
            instance.agent_version,
            instance.heartbeat_generation,
            instance.heartbeat_sequence,
        ),
    )


@given(data=st.data())
def test_order_repeats_and_batches_make_no_difference(make, data):
    # Given a guest whose generations were met in their order
    history = data.draw(_histories(make))
    met = [
        make('event', 'i', generation, 1000) for generation in ('one', 'two', 'three')
    ]
    expected, world = World(), World()
    expected.take(*met)
    world.take(*met)
    for item in history:
        expected.take(item)

    # when its reports come in any order, some of them again, in any batches
    repeats = data.draw(
        st.lists(st.sampled_from(history), max_size=5) if history else st.just([])
    )
    shuffled = data.draw(st.permutations(history + repeats))
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        world.take(*shuffled[:size])
        shuffled = shuffled[size:]

    # then nothing is different.
    assert _summary(world) == _summary(expected)


@given(data=st.data())
def test_the_reports_in_order_give_what_a_plain_reader_expects(make, data):
    history = data.draw(_histories(make))
    world = World()
    world.take(*history)

    facts: dict[str, str] = {}
    for item in history:
        if isinstance(item.data, report.Facts):
            if item.data.full:
                facts.clear()
            facts.update(item.data.facts)
    assert world.facts() == {
        name: value for name, value in facts.items() if value is not None
    }
    beats = [item.data for item in history if isinstance(item.data, report.Heartbeat)]
    if beats:
        assert world.instance.state == ('STOPPED' if beats[-1].stopping else 'UP')


# --- What is missing, and what is too far away ----------------------------------


def test_a_gap_is_noted_and_closes_when_the_report_comes_late(make):
    world = World()
    world.take(make('facts', sequence=1, full=True), now=10.0)
    assert world.instance.facts_gap is None

    world.take(make('facts', sequence=3), now=20.0)
    world.take(make('facts', sequence=4), now=30.0)
    assert world.instance.facts_gap == 20.0
    world.take(make('facts', sequence=2), now=40.0)

    assert world.instance.facts_gap is None


def test_a_full_report_closes_all_gaps_before_it(make):
    world = World()
    world.take(make('facts', sequence=1, full=True), make('facts', sequence=5))
    assert world.instance.facts_gap is not None

    world.take(make('facts', sequence=9, full=True))
    assert world.instance.facts_gap is None
    # What comes late of before is no gap either.
    world.take(make('facts', sequence=7), make('facts', sequence=10))

    assert world.instance.facts_gap is None


def test_facts_are_missing_where_no_full_report_is_known(make):
    world = World()
    world.take(make('facts', sequence=2), now=10.0)
    assert world.instance.facts_gap == 10.0

    world.take(make('facts', sequence=1, full=True))
    assert world.instance.facts_gap is None
    world.take(make('heartbeat', generation='two'), now=30.0)
    assert world.instance.facts_gap == 30.0
    world.take(make('facts', generation='two', full=True))

    assert world.instance.facts_gap is None


def test_a_heartbeat_from_the_future_does_not_block_the_others(make):
    world = World()
    world.take(make(sequence=1), now=10.0)

    world.take(make(sequence=2**62, agent_version='x'), make(sequence=2), now=20.0)
    assert world.instance.last_seen == 20.0
    assert world.instance.agent_version == '0.1.0'
    world.take(make(sequence=3), now=30.0)

    assert (world.instance.last_seen, world.instance.heartbeat_sequence) == (30.0, 3)


def test_a_first_heartbeat_from_the_future_blocks_only_one(make):
    world = World()
    world.take(make(sequence=2**62), now=10.0)

    for sequence in (1, 2, 3):
        world.take(make(sequence=sequence), now=20.0 + sequence)

    assert (world.instance.last_seen, world.instance.heartbeat_sequence) == (23.0, 3)


def test_facts_from_the_future_are_left_alone(make):
    world = World()
    world.take(make('facts', sequence=1, full=True, facts={'a': 1}))

    world.take(make('facts', sequence=2**62, full=True, facts={'a': 99}))
    world.take(make('facts', sequence=2, facts={'a': 2}))

    assert world.facts() == {'a': '2'}
    assert world.instance.facts_gap is None


def test_facts_that_began_in_the_future_give_way(make):
    world = World()
    world.take(make('facts', sequence=2**62, full=True, facts={'a': 99, 'b': 99}))

    world.take(make('facts', sequence=1, full=True, facts={'a': 1}))
    world.take(make('facts', sequence=2, facts={'a': 2}), now=50.0)
    assert world.facts() == {'a': '2', 'b': '99'}
    assert world.instance.facts_gap == 50.0
    world.take(make('facts', sequence=3, full=True, facts={'a': 3}))

    assert world.facts() == {'a': '3'}
    assert world.instance.facts_gap is None


# --- Two agents with one name ---------------------------------------------------


def _beside(world: World, make, seconds: int, **newer: Any) -> list[Any]:
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
    world = World()
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
    world = World()
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
    world = World()
    world.take(make(interval=10), now=1000.0)
    world.take(make(generation='two', interval=10), now=1010.0)

    for sequence in (2, 3, 4, 5):
        world.take(make(sequence=sequence, interval=10), now=1011.0)
    world.take(make(sequence=6, interval=10, status='stopping'), now=1100.0)

    assert world.instance.conflict is None
    assert world.instance.state == 'UP'


def test_facts_of_two_agents_are_never_mixed(make):
    world = World()
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
    world = World()
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
    world = World()
    world.take(make(interval=1), now=999.0)
    _beside(world, make, 20)
    assert world.instance.conflict is not None

    world.take(make(generation='two', sequence=50, interval=1), now=1050.0)

    assert world.instance.conflict is None


def test_an_event_is_known_by_its_id_whatever_number_it_comes_with(make):
    world = World()

    world.take(make('event', sequence=1, id='a', type='x.a'))
    world.take(make('event', generation='two', sequence=5, id='a', type='x.a'))
    # A guest that was put back gives a number again that it had given before.
    world.take(make('event', sequence=1, id='b', type='x.b'))

    assert [event.type for _order, event in world.events.values()] == ['x.a', 'x.b']


def test_who_knows_how_a_command_ended_is_believed(make):
    # Given a guest that was copied, or put back, while a command ran
    world = World()
    lost = {'outcome': 'interrupted', 'error': {'code': 'interrupted'}}
    world.take(make('outcome', 'i', 'one', 1))
    world.take(make('outcome', 'i', 'two', 1, **lost))
    world.take(make('outcome', 'i', 'one', 2, command_id='other'))
    world.take(make('outcome', 'i', 'two', 2, command_id='third', **lost))
    world.take(make('outcome', 'i', 'one', 3, command_id='third', outcome='failed'))

    found = {key[2]: data.outcome for key, (_order, data) in world.outcomes.items()}

    assert found == {'c': 'done', 'other': 'done', 'third': 'failed'}
