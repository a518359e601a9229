# SPDX-License-Identifier: Apache-2.0
"""The replay window: nothing gets in twice, and nobody is locked out."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent.seal import window
from guestagent.seal.window import Verdict

LIMITS = window.Limits(age=86400_000, skew=300_000)
NOW = 1_800_000_000_000
_numbers = itertools.count(1)


def seal(stamp=NOW, waits=True, lifetime=360_000, caller='nova', **changes):
    nonce = next(_numbers).to_bytes(24)
    made = window.Seal(caller, waits, nonce, stamp, stamp + lifetime)
    return made._replace(**changes)


def again(source):
    """Return the window that a restarted agent reads from the disk."""
    made = window.Window(LIMITS)
    for record in source.records():
        made.replay(record)
    return made


def test_a_clock_that_is_set_back_lets_nothing_in_again():
    found = window.Window(LIMITS)
    one = seal()
    assert found.judge(one, NOW) is Verdict.FRESH
    for now in (NOW, NOW - 3600_000, 0):
        assert found.judge(one, now) is Verdict.REPEATED
    assert found.clock('nova', 0) == NOW - LIMITS.skew
    assert found.clock('trove', 0) == 0


def test_a_caller_ahead_of_time_locks_nobody_out():
    found = window.Window(LIMITS)
    assert found.judge(seal(NOW + 299_000), NOW) is Verdict.FRESH
    assert found.judge(seal(NOW - 200_000), NOW) is Verdict.FRESH
    assert found.judge(seal(NOW + 400_000), NOW) is Verdict.SKEWED
    assert found.judge(seal(NOW, caller='trove'), NOW) is Verdict.FRESH


def test_a_call_that_waited_while_the_agent_was_away_is_sealed_anew():
    found = window.Window(LIMITS)
    found.judge(seal(), NOW)
    back = again(found)
    back.start(NOW + 5000)
    assert back.judge(seal(NOW + 4000), NOW + 5000) is Verdict.SKEWED
    assert back.judge(seal(NOW + 4000, caller='new'), NOW + 5000) is Verdict.SKEWED
    assert back.judge(seal(NOW + 5001), NOW + 5001) is Verdict.FRESH
    # By the clock that it was told it gets in at once.
    told = back.clock('nova', NOW + 5000)
    assert back.judge(seal(told), NOW + 5000) is Verdict.FRESH


def test_a_cast_that_waited_gets_in_after_a_restart_and_after_a_crash():
    found = window.Window(LIMITS)
    old = seal(waits=False)
    found.judge(old, NOW)
    for margin, stamp, verdict in (
        (0, NOW + 1, Verdict.FRESH),
        (2000, NOW + 1, Verdict.SKEWED),
        (2000, NOW + 2001, Verdict.FRESH),
    ):
        back = again(found)
        back.start(NOW + 60_000, margin)
        assert back.judge(old, NOW + 60_000) is Verdict.REPEATED
        cast = seal(stamp, waits=False)
        assert back.judge(cast, NOW + 60_000) is verdict


def test_a_new_epoch_lets_in_nothing_of_before():
    found = window.Window(LIMITS)
    before = seal(NOW + 10)
    found.judge(seal(), NOW)
    found.renew('e2')
    for back in (found, again(found)):
        assert back.judge(before, NOW) is Verdict.SKEWED
        assert back.judge(seal(NOW + 10, epoch='e1'), NOW) is Verdict.SKEWED
        assert back.judge(seal(NOW + 10, epoch='e2'), NOW) is Verdict.FRESH


def test_memory_has_a_bound_and_forgets_nothing_that_could_come_again():
    found = window.Window(LIMITS)
    sent = [seal(NOW + number) for number in range(3 * window.REMEMBERED)]
    for one in sent:
        assert found.judge(one, NOW) is Verdict.FRESH
    assert len(found) <= window.REMEMBERED
    for one in (*sent[::997], sent[-1]):
        assert found.judge(one, NOW) in (Verdict.REPEATED, Verdict.SKEWED)
    # By the clock that it is told, the caller goes on.
    told = max(found.clock('nova', NOW), NOW + 3 * window.REMEMBERED)
    assert found.judge(seal(told), NOW) is Verdict.FRESH


@pytest.mark.parametrize('record', [b'', b'?', b'N', b'Nxx', b'F1'])
def test_what_is_no_record_is_refused(record):
    with pytest.raises(ValueError, match=r'.'):
        window.Window(LIMITS).replay(record)


def test_the_last_time_that_can_be_is_kept_like_any():
    first = window.Window(LIMITS)
    first.replay(window.Window.record(seal(2**53, lifetime=0)))
    first.start(NOW, 1000)

    second = window.Window(LIMITS)
    for record in first.records():
        second.replay(record)
    assert list(second.records()) == list(first.records())


_EVENTS = st.one_of(
    st.tuples(
        st.just('new'),
        st.integers(-2 * 86400_000, 2 * 86400_000),
        st.booleans(),
        st.sampled_from(['nova', 'trove']),
    ),
    st.tuples(st.just('replay'), st.integers(0, 30)),
    st.tuples(st.just('clock'), st.integers(-2 * 86400_000, 2 * 86400_000)),
    st.tuples(st.just('restart'), st.sampled_from([0, 2000])),
    st.tuples(st.just('epoch'), st.text('abc', min_size=1, max_size=3)),
)


@settings(max_examples=300)
@given(st.lists(_EVENTS, max_size=60))
def test_nothing_gets_in_twice_whatever_happens(events):
    found, now, sent, fresh = window.Window(LIMITS), NOW, [], set()
    for kind, *what in events:
        if kind == 'clock':
            now = max(0, NOW + what[0])
        elif kind == 'restart':
            found = again(found)
            found.start(now, *what)
        elif kind == 'epoch':
            found.renew(*what)
        else:
            if kind == 'new':
                stamp, waits, caller = what
                sent.append(
                    seal(max(0, NOW + stamp), waits, caller=caller, epoch=found.epoch)
                )
            if not sent:
                continue
            one = sent[-1 if kind == 'new' else what[0] % len(sent)]
            if found.judge(one, now) is Verdict.FRESH:
                assert one.nonce not in fresh
                fresh.add(one.nonce)


@settings(max_examples=300)
@given(st.lists(_EVENTS, max_size=40))
def test_a_call_by_the_clock_that_was_told_always_gets_in(events):
    found, now = window.Window(LIMITS), NOW
    for kind, *what in events:
        if kind == 'clock':
            now = max(0, NOW + what[0])
        elif kind == 'restart':
            found = again(found)
            found.start(now, *what)
        elif kind == 'epoch':
            found.renew(*what)
        elif kind == 'new':
            stamp, waits, caller = what
            found.judge(seal(max(0, NOW + stamp), waits, caller=caller), now)
    for caller in ('nova', 'trove'):
        told = seal(found.clock(caller, now), caller=caller, epoch=found.epoch)
        assert found.judge(told, now) is Verdict.FRESH
