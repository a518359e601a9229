# SPDX-License-Identifier: Apache-2.0
"""What the conductor notices of a guest's audit log."""

import pytest

from guestagent.conductor import audits, report, state
from guestagent.conductor.db import queries, store, upkeep
from tests.unit.conductor import worlds


def end(length, head='a'):
    return {'length': length, 'head': head * 64}


@pytest.fixture
def world(make):
    made = worlds.World()
    made.take(make(sequence=1, audit=end(5)), now=100.0)
    return made


def problems(changes):
    return [data for _, kind, data in changes.notices if kind == audits.EVENT]


def test_a_log_that_grows_is_no_event(make, world):
    changes = world.take(make(sequence=2, audit=end(9, 'b')), now=110.0)

    assert changes.notices == []
    assert (world.instance.audit_length, world.instance.audit_head) == (9, 'b' * 64)
    assert world.take(make(sequence=3, audit=end(9, 'b'))).beyond == set()


@pytest.mark.parametrize(
    ('audit', 'problem'),
    [(end(4), 'shorter'), (end(5, 'b'), 'changed'), (None, 'missing')],
)
def test_a_log_that_does_not_only_grow_is_an_event(make, world, audit, problem):
    changes = world.take(make(sequence=2, audit=audit), now=110.0)

    assert problems(changes) == [{'problem': problem, 'was': end(5), 'now': audit}]
    assert ('i', report.Audit(**end(5))) in changes.heads
    # Once.
    assert problems(world.take(make(sequence=3, audit=audit))) == []


def test_two_agents_of_one_name_have_two_logs(make, world):
    world.instance.conflict = 50.0
    world.instance.rival_seen = 100.0

    assert problems(world.take(make(sequence=2, audit=end(1)), now=101.0)) == []


def test_heads_are_kept_now_and_then(make, world):
    kept = []
    for number in range(2, 62):
        now = 100.0 + 30 * number
        changes = world.take(make(sequence=number, audit=end(5 + number)), now=now)
        kept += changes.heads

    assert len(kept) == 3


def test_an_agent_that_says_nothing_of_a_log(make):
    world = worlds.World()

    changes = world.take(make())

    assert (changes.heads, world.instance.audit_length) == ([], None)


@pytest.mark.parametrize(
    'audit',
    [5, [], {}, {'length': -1, 'head': 'a'}, {'length': True, 'head': 'a'}]
    + [{'length': 1, 'head': head} for head in (None, '', 'a' * 65, 'a\0')],
)
def test_what_is_no_end_of_a_log(payload, audit):
    with pytest.raises(report.Rejected, match='audit'):
        report.parse(payload(audit=audit))


def test_in_the_database(database, make):
    kept = store.Store(database)
    kept.apply([make(sequence=1, audit=end(5))], 100.0)
    kept.apply([make(sequence=2, audit=end(7, 'b'))], 110.0)
    kept.apply([make(sequence=3, audit=end(6, 'c'))], 120.0)

    assert queries.instance(database, 'i')['audit'] == end(6, 'c')
    found = queries.audit_heads(database, 'i', None, 10)
    assert [head['length'] for _, head in found] == [5, 7, 6]
    assert queries.audit_heads(database, 'i', found[0][0], 1) == [found[1]]
    assert queries.audit_heads(database, 'nobody', None, 10) is None
    event = queries.events(database, 'i', None, 10)[-1]
    assert (event['type'], event['data']['problem']) == (audits.EVENT, 'shorter')

    upkeep.prune(database, 120.0 + 2 * upkeep.DAY, 1, 0, 100)
    assert queries.audit_heads(database, 'i', None, 10) == []
    assert queries.instance(database, 'i')['state'] == state.UP
