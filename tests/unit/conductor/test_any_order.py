# SPDX-License-Identifier: Apache-2.0
"""Reports in any order, any batches, and some of them again: nothing is different."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from guestagent.conductor import report
from tests.unit.conductor import worlds

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


def _summary(world: worlds.World) -> Any:
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
    expected, world = worlds.World(), worlds.World()
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
    world = worlds.World()
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
