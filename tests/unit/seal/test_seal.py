# SPDX-License-Identifier: Apache-2.0
"""Sealed values, commands, replies and reports: what opens, and all that does not."""

import base64
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import errors
from guestagent.seal import caller, contents, guest, keys, value, window

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
TROVE = keys.Line(keys.COMMANDS, 'trove', True, os.urandom(32))
REPORTS = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))
LIMITS = window.Limits(age=86400_000, skew=300_000)
NOW = 1_800_000_000.0


def make_guest(instance='vm-1', lines=(NOVA, TROVE, REPORTS)):
    ring = keys.GuestRing([line.derive(instance) for line in lines])
    return guest.Guest(instance, ring, LIMITS)


def make_caller(*lines, name=None):
    return caller.Caller(keys.MasterRing(lines or [NOVA], keys.COMMANDS), name)


def seal(of=None, instance='vm-1', now=NOW, waits=True, lifetime=60, **changes):
    given = {'args': {'argv': ['id']}, 'context': {'user': 'x'}, 'id': 'c-1', **changes}
    return (of or make_caller()).seal(
        instance,
        given.get('namespace', 'exec'),
        'run',
        '1.0',
        given['args'],
        given['context'],
        given['id'],
        waits=waits,
        lifetime=lifetime,
        now=now,
    )


def open_at(target, sent, now=NOW):
    return target.open(sent.value, int(now * 1000))


def unanswered(target, text, now=NOW):
    with pytest.raises(guest.Unanswered) as caught:
        target.open(text, int(now * 1000))
    return caught.value.reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4), json_values)
def test_a_command_and_its_reply_arrive_as_they_were(args, result):
    asker, target = make_caller(), make_guest()
    sent = seal(asker, args=args)
    opened = open_at(target, sent)
    assert opened.command == sent.command
    assert opened.command.args == args
    assert opened.command.caller == 'nova'
    assert opened.refusal is None
    assert asker.open(sent, opened.reply(result, None, 10**6)) == (result, None)


@settings(max_examples=300)
@given(st.data())
def test_nothing_that_was_changed_opens(data):
    sent = seal()
    raw = bytearray(base64.b64decode(sent.value))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    reason = unanswered(make_guest(), base64.b64encode(raw).decode())
    assert reason == (
        guest.SHAPE if place == 0 else guest.KEY if place < 9 else guest.FORGED
    )


@settings(max_examples=300)
@given(json_values | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_no_rubbish_opens(text):
    assert unanswered(make_guest(), text) in (guest.SHAPE, guest.KEY)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_value_that_is_cut_does_not_open(plain, cut):
    key = keys.Key(NOVA.derive('vm-1'))
    raw = key.to_guest.seal(value.COMMAND, b'vm-1', plain)

    def open_part():
        part = value.take_apart(value.encode(raw[: min(cut, len(raw) - 1)]))
        return key.to_guest.open(value.COMMAND, b'vm-1', part)

    with pytest.raises(value.Broken):
        open_part()


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(contents.Command._fields), json_values))
def test_an_inside_that_is_no_command_is_dropped(changes):
    key = keys.Key(NOVA.derive('vm-1'))
    fields = {**seal().command._asdict(), **changes}
    raw = key.to_guest.seal(value.COMMAND, b'vm-1', json.dumps(fields).encode())
    target = make_guest()
    try:
        opened = target.open(value.encode(raw), int(NOW * 1000))
    except guest.Unanswered:
        return
    # What stands there now is as good as what stood there before.
    assert contents.read_command(contents.write_command(opened.command))
    assert opened.command.caller == 'nova'
    assert opened.command.instance == 'vm-1'


def test_keys_open_only_what_they_are_for():
    stranger = make_caller(NOVA._replace(secret=os.urandom(32)))
    assert unanswered(make_guest(), seal(stranger).value) == guest.KEY
    # For another instance, though the caller is ours.
    assert unanswered(make_guest('vm-2'), seal().value) == guest.KEY
    # A guest cannot turn its own key against another one.
    assert keys.Key(NOVA.derive('vm-1')).id != keys.Key(NOVA.derive('vm-2')).id


def test_a_value_bound_to_another_instance_is_refused_though_the_key_fits():
    key = keys.Key(NOVA.derive('vm-1'))
    fields = seal().command._replace(instance='vm-2')
    plain = contents.write_command(fields)
    text = value.encode(key.to_guest.seal(value.COMMAND, b'vm-2', plain))
    assert unanswered(make_guest(), text) == guest.FORGED
    text = value.encode(key.to_guest.seal(value.COMMAND, b'vm-1', plain))
    assert unanswered(make_guest(), text) == guest.INSTANCE


def test_no_caller_speaks_for_another():
    key = keys.Key(TROVE.derive('vm-1'))
    plain = contents.write_command(seal().command)
    text = value.encode(key.to_guest.seal(value.COMMAND, b'vm-1', plain))
    assert unanswered(make_guest(), text) == guest.KEY


def test_the_directions_are_apart():
    sent, target = seal(), make_guest()
    reply = open_at(target, sent).reply(1, None, 1000)
    assert unanswered(target, reply) == guest.FORGED
    report = target.report({'instance': 'vm-1'}, NOW)['sealed']
    assert unanswered(target, report) == guest.FORGED
    with pytest.raises(errors.NotSealed):
        make_caller().open(sent, sent.value)


def test_a_reply_answers_one_command_only():
    asker, target = make_caller(), make_guest()
    first, second = seal(asker, id='a'), seal(asker, id='b')
    again = seal(asker, id='a')
    reply = open_at(target, first).reply('yes', None, 1000)
    assert asker.open(first, reply) == ('yes', None)
    for other in (second, again):
        with pytest.raises(errors.NotSealed, match=r'vm-1.*nobody knows'):
            asker.open(other, reply)
    for rubbish in (None, 7, 'yes', {'result': 'yes'}, reply[:-4]):
        with pytest.raises(errors.NotSealed):
            asker.open(first, rubbish)


def test_failures_travel_inside_too():
    asker, target = make_caller(), make_guest()
    sent = seal(asker)
    answer = open_at(target, sent).reply(None, errors.Busy('no room'), 1000)
    _, failure = asker.open(sent, answer)
    assert failure['class'] == 'Busy'
    assert failure['message'] == 'no room'


@pytest.mark.parametrize(
    ('result', 'kind'), [('x' * 2000, 'ResultTooLarge'), ({1, 2}, 'BadResult')]
)
def test_a_result_that_cannot_be_sent_becomes_a_failure(result, kind):
    asker = make_caller()
    sent = seal(asker)
    _, failure = asker.open(sent, open_at(make_guest(), sent).reply(result, None, 1000))
    assert failure['class'] == kind


def test_what_came_before_and_what_came_too_late_gets_no_answer():
    target, sent = make_guest(), seal()
    open_at(target, sent)
    assert unanswered(target, sent.value) == 'repeated'
    assert unanswered(target, sent.value, NOW + 3600) == 'repeated'
    assert unanswered(target, sent.value, NOW - 3600) == 'repeated'
    cast = seal(waits=False, lifetime=10)
    assert unanswered(make_guest(), cast.value, NOW + 11) == 'expired'
    endless = seal(waits=False, lifetime=86401)
    assert unanswered(make_guest(), endless.value) == 'expired'


@pytest.mark.parametrize('apart', [-86400, -3600, 3600, 86400 * 365])
def test_a_caller_learns_the_clock_of_the_guest(apart):
    asker, target = make_caller(), make_guest()
    sent = seal(asker)
    opened = open_at(target, sent, NOW + apart)
    assert opened.refusal is not None
    _, failure = asker.open(sent, opened.reply(None, opened.refusal, 1000))
    assert asker.adjust(sent, failure)
    again = open_at(target, seal(asker, now=NOW + 1), NOW + apart + 1)
    assert again.refusal is None


def test_an_epoch_is_learned_like_a_clock():
    asker, target = make_caller(), make_guest()
    before = seal(asker)
    target.window.renew('abc')
    opened = open_at(target, before)
    assert opened.refusal.kwargs['epoch'] == 'abc'
    _, failure = asker.open(before, opened.reply(None, opened.refusal, 1000))
    assert asker.adjust(before, failure)
    assert open_at(target, seal(asker)).refusal is None


@pytest.mark.parametrize(
    'failure',
    [
        {},
        {'class': 'Busy', 'module': 'guestagent.errors'},
        {'class': 'ClockSkew', 'module': 'guestagent.errors', 'kwargs': None},
        {'class': 'ClockSkew', 'module': 'guestagent.errors', 'kwargs': {'clock': 'x'}},
    ],
)
def test_only_a_refusal_for_the_clock_teaches_one(failure):
    asker = make_caller()
    assert not asker.adjust(seal(asker), failure)


def test_a_caller_is_chosen_by_name():
    assert make_caller(NOVA, TROVE, name='trove').name == 'trove'
    with pytest.raises(errors.ConfigError, match=r'choose one of nova, trove'):
        make_caller(NOVA, TROVE)
    with pytest.raises(errors.ConfigError, match="no key of caller 'heat'"):
        make_caller(NOVA, name='heat')


def test_a_report_counts_for_the_instance_that_sealed_it():
    ring = keys.MasterRing([REPORTS], keys.REPORTS)
    payload = {'instance': 'vm-1', 'kind': 'event', 'data': {'x': 1}}
    sealed = make_guest().report(payload, NOW)
    assert sealed['instance'] == 'vm-1'
    assert caller.open_report(ring, 'vm-1', sealed['sealed'], NOW) == payload
    for claimed in ('vm-2', 'no such name'):
        with pytest.raises(value.Broken):
            caller.open_report(ring, claimed, sealed['sealed'], NOW)
    # A guest that seals with its own key what names another one.
    foreign = make_guest().report({**payload, 'instance': 'vm-2'}, NOW)
    with pytest.raises(value.Broken, match='another instance'):
        caller.open_report(ring, 'vm-1', foreign['sealed'], NOW)


def test_who_opens_reports_can_ask_for_them_and_for_nothing_else():
    ring = keys.MasterRing([REPORTS], keys.REPORTS)
    target = make_guest()
    asked = caller.ask(ring, 'vm-1', NOW)
    opened = target.open(asked['value'], int(NOW * 1000))
    assert (opened.command.namespace, opened.command.method) == guest.ASKS
    key = keys.Key(REPORTS.derive('vm-1'))
    fields = opened.command._replace(namespace='exec', method='run')
    text = key.to_guest.seal(value.COMMAND, b'vm-1', contents.write_command(fields))
    assert unanswered(target, value.encode(text)) == guest.KEY


def test_without_a_key_for_reports_they_stay_plain():
    payload = {'instance': 'vm-1'}
    assert make_guest(lines=[NOVA]).report(payload, NOW) == payload


def test_the_same_random_bytes_seal_two_texts_with_two_nonces(monkeypatch):
    monkeypatch.setattr(value.os, 'urandom', lambda size: bytes(size))
    way = keys.Key(NOVA.derive('vm-1')).from_guest
    made = [
        way.seal(value.REPLY, bound, plain)
        for bound in (b'1', b'2')
        for plain in (b'a', b'b')
    ]
    assert len({value.nonce_of(one) for one in made}) == 4
