# SPDX-License-Identifier: Apache-2.0
"""Short heartbeats: what they refer to, and what is asked for because of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent.conductor import audits, report, state
from guestagent.conductor.db import asks, queries, store
from tests.unit.conductor import worlds

EXTENSIONS = {'exec': {'version': '1.0', 'health': 'ok'}}


def end(length, head='a'):
    return {'length': length, 'head': head * 64}


@pytest.fixture
def short(payload):
    """``short(sequence, digest, **data)``."""

    def make(sequence, digest='d', **data):
        sent = payload(sequence=sequence)
        sent['data'] = {'status': 'running', 'interval': 10, 'digest': digest, **data}
        return report.parse(sent)

    return make


@pytest.fixture
def world(make):
    """A conductor that has all of an instance."""
    made = worlds.World()
    made.take(
        make(sequence=1, digest='d', extensions=EXTENSIONS, audit=end(5)),
        make('facts', sequence=1, full=True, facts={'a': 1}),
        now=100.0,
    )
    assert made.instance.facts_gap is None
    return made


def test_one_that_refers_to_what_is_known_is_a_sign_of_life(short, world):
    changes = world.take(short(2, audit=5), now=130.0)

    assert (changes.extensions, changes.beyond, changes.notices) == ({}, set(), [])
    instance = world.instance
    assert (instance.last_seen, instance.down_at) == (130.0, 160.0)
    assert (instance.agent_version, instance.started) == ('0.1.0', 5.0)
    assert (instance.audit_length, instance.facts_gap) == (5, None)


@pytest.mark.parametrize(
    ('digest', 'data'), [('e', {'audit': 5}), ('d', {'audit': 6}), ('d', {})]
)
def test_one_that_refers_to_something_else_leaves_a_gap_until_all_is_told(
    make, short, world, digest, data
):
    changes = world.take(short(2, digest, **data), now=130.0)
    assert (changes.extensions, changes.notices) == ({}, [])
    assert world.instance.facts_gap == 130.0

    # Facts do not close it, nor does a heartbeat that says no more.
    world.take(make('facts', sequence=2, facts={'a': 2}), short(3, digest, **data))
    assert world.instance.facts_gap == 130.0
    changes = world.take(
        make(sequence=4, digest=digest, extensions=EXTENSIONS, audit=end(6))
    )

    assert changes.extensions['i']['exec'].health == 'ok'
    assert (world.instance.facts_gap, world.instance.audit_length) == (None, 6)


def test_a_whole_one_closes_no_gap_of_facts(make, short, world):
    world.take(make('facts', sequence=3, facts={'a': 2}), short(2, 'e'), now=130.0)

    world.take(make(sequence=3, digest='e', audit=end(5)))
    assert world.instance.facts_gap == 130.0
    world.take(make('facts', sequence=2))
    assert world.instance.facts_gap is None


def test_a_goodbye_leaves_no_gap(short, world):
    world.take(short(2, 'e', status='stopping', audit=5))

    assert (world.instance.state, world.instance.facts_gap) == (state.STOPPED, None)


def test_in_one_batch_nothing_is_lost_of_what_the_newest_refers_to(make, short, world):
    worse = {'exec': {'version': '1.0', 'health': 'no shell'}}

    changes = world.take(
        make(sequence=2, digest='e', extensions=worse, audit=end(5)),
        short(3, 'e', audit=end(6, 'b')),
        short(4, 'e', audit=6),
    )

    assert changes.extensions['i']['exec'].health == 'no shell'
    assert (world.instance.audit_length, world.instance.audit_head) == (6, 'b' * 64)
    assert world.instance.facts_gap is None
    # What is older and of another digest is not what it refers to.
    world.take(make(sequence=5, digest='f', audit=end(6, 'b')), short(6, 'g', audit=6))
    assert world.instance.extensions_digest == state.UNKNOWN


def test_an_audit_log_that_shrinks_is_told_by_short_ones_too(short, world):
    changes = world.take(short(2, audit=end(4, 'b')))

    [(_, kind, data)] = changes.notices
    assert (kind, data['problem']) == (audits.EVENT, 'shorter')


def test_a_database_that_is_empty_asks(database, make, short):
    """Given what guests have told a database before, and a new one."""
    kept = store.Store(database)

    kept.apply([short(7), make('facts', sequence=3, facts={'a': 1})], 100.0)

    assert queries.instance(database, 'i')['extensions'] == {}
    assert asks.choose(database, 120.0, 10, 1000) == ['i']
    kept.apply(
        [
            make('facts', sequence=4, full=True, facts={'a': 1}),
            make(sequence=8, digest='d', extensions=EXTENSIONS),
        ],
        121.0,
    )
    assert list(queries.instance(database, 'i')['extensions']) == ['exec']
    assert asks.choose(database, 300.0, 10, 1000) == []


@given(data=st.data())
def test_in_any_order_and_with_losses_what_is_known_is_right_or_asked_for(
    make, payload, data
):
    # Given heartbeats of a guest, each whole or short, of which some are lost and the
    # others come in any order and any batches
    healths = data.draw(st.lists(st.sampled_from('abc'), min_size=1, max_size=8))
    sent = []
    for sequence, health in enumerate(healths, 1):
        extensions = {'exec': {'version': '1.0', 'health': health}}
        if data.draw(st.booleans()):
            sent.append(make(sequence=sequence, digest=health, extensions=extensions))
        else:
            beat = payload(sequence=sequence)
            beat['data'] = {'status': 'running', 'interval': 10, 'digest': health}
            sent.append(report.parse(beat))
    left = data.draw(st.lists(st.sampled_from(sent), min_size=1, unique_by=id))
    newest = max(left, key=lambda item: item.sequence)
    world = worlds.World()
    world.take(make('facts', sequence=1, full=True))
    while left:
        size = data.draw(st.integers(1, len(left)))
        world.take(*left[:size])
        left = left[size:]

    # then the newest is what is known, or it is known that it is not.
    instance = world.instance
    if instance.extensions_digest == state.UNKNOWN:
        assert instance.facts_gap is not None
    else:
        assert instance.extensions_digest == newest.data.digest
        assert world.extensions['i']['exec'].health == newest.data.digest
        assert instance.facts_gap is None
