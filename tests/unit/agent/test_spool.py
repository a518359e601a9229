# SPDX-License-Identifier: Apache-2.0
"""The rules of the spool: what waits, in which order, and what is given up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent.agent import spool

SIZE = 1_000_000


def facts(full, **values):
    return {'full': full, 'facts': values}


def drained(box):
    taken = []
    while (report := box.take()) is not None:
        taken.append(report)
    return taken


def data(report):
    return json.loads(report.text)


def test_only_the_newest_heartbeat_waits():
    box = spool.Spool(10, SIZE)
    for number in range(3):
        box.add(spool.HEARTBEAT, {'n': number})

    assert [data(report) for report in drained(box)] == [{'n': 2}]


def test_facts_that_wait_are_merged():
    box = spool.Spool(10, SIZE)
    box.add(spool.FACTS, facts(True, a=1, b=2))
    box.add(spool.FACTS, facts(False, a=3, b=None, c=4))

    assert [data(report) for report in drained(box)] == [facts(True, a=3, c=4)]


def test_a_removed_fact_stays_removed_while_it_waits():
    box = spool.Spool(10, SIZE)
    box.add(spool.FACTS, facts(False, a=1))
    box.add(spool.FACTS, facts(False, a=None))

    assert [data(report) for report in drained(box)] == [facts(False, a=None)]


def test_facts_that_were_numbered_are_not_changed_any_more():
    box = spool.Spool(10, SIZE)
    box.add(spool.FACTS, facts(True, a=1))
    sent = box.take()
    box.give_back(sent)
    box.add(spool.FACTS, facts(False, a=2))

    assert [(r.sequence, data(r)) for r in drained(box)] == [
        (1, facts(True, a=1)),
        (2, facts(False, a=2)),
    ]


def test_too_many_cost_the_oldest_events_first_and_are_counted():
    box = spool.Spool(3, SIZE)
    for number in range(3):
        box.add(spool.EVENT, {'n': number})
    for number in range(2):
        box.add(spool.OUTCOME, {'n': number})

    left = [(report.kind, data(report)['n']) for report in drained(box)]

    assert left == [('outcome', 0), ('outcome', 1), ('event', 2)]
    assert box.dropped == 2


def test_too_large_cost_the_same_but_one_report_always_has_room():
    box = spool.Spool(10, 100)
    box.add(spool.EVENT, {'n': 'x' * 60})
    box.add(spool.EVENT, {'n': 'y' * 60})
    assert box.dropped == 1

    box.add(spool.OUTCOME, {'n': 'z' * 200})

    assert [report.kind for report in drained(box)] == ['outcome']
    assert box.dropped == 2


def test_a_generation_counts_anew_and_forgets_what_is_made_anew():
    # Given a heartbeat, facts and events that were sent on a connection,
    box = spool.Spool(10, SIZE)
    box.add(spool.HEARTBEAT, {})
    box.add(spool.FACTS, facts(True, a=1))
    for number in range(3):
        box.add(spool.EVENT, {'n': number})
    sent = [box.take() for _ in range(4)]
    ids = [report.id for report in sent]
    # when a generation begins, before it is known that they were lost,
    box.begin()
    for report in reversed(sent):
        box.give_back(report)

    # then the events are as they were, with new numbers.
    left = drained(box)
    assert [(r.kind, r.sequence, data(r)['n']) for r in left] == [
        ('event', 1, 0),
        ('event', 2, 1),
        ('event', 3, 2),
    ]
    assert [report.id for report in left[:2]] == ids[2:]


def test_ids_differ_even_if_the_same_random_numbers_come_again(monkeypatch):
    monkeypatch.setattr(spool.os, 'urandom', bytes)

    assert spool.new_id('{}') != spool.new_id('{}')
    assert len(spool.new_id('{}')) == 32


def test_what_is_saved_is_not_in_memory_and_is_told_once_to_be_kept():
    told = []
    box = spool.Spool(10, SIZE)
    box.add(spool.OUTCOME, {'n': 1}, lambda: told.append('one'))
    box.add(spool.OUTCOME, {'n': 2}, lambda: told.append('two'))
    first, second = box.unsaved.values()

    box.note_saved(first, 100)
    assert (told, first.text, first.place) == (['one'], '', 100)

    assert box.take() is first
    box.confirmed(first)
    assert box.take() is second
    box.confirmed(second)
    assert told == ['one', 'two']
    # Only what stands on the disk must be struck out there,
    assert box.gone == [first.id]
    # be it because it was confirmed while it was written.
    box.note_saved(second, 200)
    assert box.gone == [first.id, second.id]


def test_what_is_dropped_is_never_told_to_be_kept():
    told = []
    box = spool.Spool(1, SIZE)
    box.add(spool.OUTCOME, {'n': 1}, lambda: told.append('one'))
    box.add(spool.OUTCOME, {'n': 2})

    assert (told, box.dropped) == ([], 1)


_STEPS = ['add', 'take', 'back', 'confirm', 'lose', 'save', 'reconnect']


@pytest.mark.parametrize('kind', spool.KEPT)
@given(steps=st.lists(st.sampled_from(_STEPS), max_size=80))
def test_reports_keep_their_order_whatever_happens(kind, steps):
    """Lost, repeated, put on disk, numbered anew: what is left is left in order."""
    box = spool.Spool(1000, SIZE)
    added, out, confirmed, texts = 0, [], [], {}
    for step in steps:
        if step == 'add':
            added += 1
            box.add(kind, {'n': added})
            for report in box.unsaved.values():
                texts.setdefault(report.id, report.text)
        elif step == 'take':
            report = box.take()
            if report is not None:
                assert report.sequence > 0
                out.append(report)
        elif step in ('lose', 'reconnect'):
            while out:
                box.give_back(out.pop(0))
            if step == 'reconnect':
                box.begin()
        elif step == 'save':
            for report in list(box.unsaved.values()):
                box.note_saved(report, report.number)
        elif out and step == 'back':
            box.give_back(out.pop())
        elif out:
            report = out.pop(0)
            box.confirmed(report)
            confirmed.append(report.number)
    for report in reversed(out):
        box.give_back(report)
    rest = drained(box)

    assert [report.number for report in rest] == sorted(r.number for r in rest)
    numbers = confirmed + [report.number for report in rest]
    assert sorted(numbers) == list(range(1, added + 1))
    # What has a number of this generation has the right one,
    sequences = [(report.generation, report.sequence) for report in rest]
    assert sequences == sorted(set(sequences))
    # and the text of each is in memory or on the disk.
    assert all(r.text == texts[r.id] or r.place == r.number for r in rest)
