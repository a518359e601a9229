# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from guestagent.agent import spool


def facts(full, **values):
    return {'full': full, 'facts': values}


def drained(box):
    taken = []
    while (report := box.take()) is not None:
        taken.append(report)
    return taken


def test_only_the_newest_heartbeat_waits():
    box = spool.Spool(10)
    for number in range(3):
        box.add(spool.HEARTBEAT, {'n': number})

    assert [report.data for report in drained(box)] == [{'n': 2}]


def test_facts_that_wait_are_merged():
    box = spool.Spool(10)
    box.add(spool.FACTS, facts(True, a=1, b=2))
    box.add(spool.FACTS, facts(False, a=3, b=None, c=4))

    assert [report.data for report in drained(box)] == [facts(True, a=3, c=4)]


def test_a_removed_fact_stays_removed_while_it_waits():
    box = spool.Spool(10)
    box.add(spool.FACTS, facts(False, a=1))
    box.add(spool.FACTS, facts(False, a=None))

    assert [report.data for report in drained(box)] == [facts(False, a=None)]


def test_facts_that_were_numbered_are_not_changed_any_more():
    box = spool.Spool(10)
    box.add(spool.FACTS, facts(True, a=1))
    sent = box.take()
    box.give_back(sent)
    box.add(spool.FACTS, facts(False, a=2))

    assert [(r.sequence, r.data) for r in drained(box)] == [
        (1, facts(True, a=1)),
        (2, facts(False, a=2)),
    ]


def test_too_many_cost_the_oldest_events_first_and_are_counted():
    box = spool.Spool(3)
    for number in range(3):
        box.add(spool.EVENT, {'n': number})
    for number in range(2):
        box.add(spool.OUTCOME, {'n': number})

    left = [(report.kind, report.data['n']) for report in drained(box)]

    assert left == [('outcome', 0), ('outcome', 1), ('event', 2)]
    assert box.dropped == 2


@given(st.lists(st.sampled_from(['add', 'take', 'back', 'confirm']), max_size=60))
def test_events_leave_in_order_and_keep_their_sequence(steps):
    box = spool.Spool(1000)
    added, out, confirmed = 0, [], []
    for step in steps:
        if step == 'add':
            added += 1
            box.add(spool.EVENT, {'n': added})
        elif step == 'take':
            report = box.take()
            if report is not None:
                assert report.sequence == report.data['n']
                out.append(report)
        elif out and step == 'back':
            box.give_back(out.pop())
        elif out:
            confirmed.append(out.pop(0).sequence)
    for report in out:
        box.give_back(report)
    rest = [report.sequence for report in drained(box)]

    assert rest == sorted(rest)
    assert sorted(confirmed + rest) == list(range(1, added + 1))
