# SPDX-License-Identifier: Apache-2.0
"""Reports over a bus that loses, returns and rejects."""

import json

import pytest

from guestagent.agent import identity, machine, reporter
from guestagent.bus import base
from tests.unit.agent import scripted


class Bus(scripted.Bus):
    """Keeps what is reported."""

    def report(self, body, done):
        payload = json.loads(json.loads(body)['oslo.message'])['payload']
        self.sent.append((payload, done))


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def make(loop, bus, monkeypatch):
    """``make(**limits)``: a reporter; its heartbeats are an hour apart."""
    monkeypatch.setattr(reporter, 'RETRY', 0.01)
    monkeypatch.setattr(reporter, 'RETRY_MAX', 0.02)

    def make(instance='vm', summaries=dict, **limits):
        return reporter.Reporter(
            loop,
            bus,
            identity.Identity(instance),
            reporter.Limits(interval=3600, **limits),
            summaries,
        )

    return make


@pytest.fixture
def reports(make):
    return make()


def turn(loop, times=3):
    for _ in range(times):
        loop.run_once(0.03)


def kinds(payloads):
    return [(p['kind'], p['sequence']) for p in payloads]


def reconnect(bus, reports):
    bus.connected = False
    lost = bus.settle(base.Sent.LOST)
    bus.connected = True
    reports.connected()
    return lost


def test_what_is_lost_with_a_connection_is_sent_again(loop, bus, reports):
    reports.report_event('x', 'a', {})
    reports.report_event('x', 'b', {})
    turn(loop)
    bus.connected = False
    first = bus.settle(base.Sent.LOST)
    reports.report_event('x', 'c', {})
    turn(loop)
    assert bus.sent == []

    bus.connected = True
    reports.connected()
    again = bus.settle()

    assert kinds(first) == [('event', 1), ('event', 2)]
    assert kinds(again) == [('event', 1), ('event', 2), ('event', 3)]
    assert [p['data']['type'] for p in again] == ['x.a', 'x.b', 'x.c']
    assert [p['id'] for p in again[:2]] == [p['id'] for p in first]
    scripted.until(loop, lambda: bus.sent)
    bus.settle()
    assert reports.idle


def test_each_connection_has_a_generation_that_begins_with_all_facts(
    loop, bus, reports
):
    reports.start()
    reports.report_facts('x', {'a': 1})
    turn(loop)
    first = bus.settle()
    reports.report_facts('x', {'b': 2})
    turn(loop)
    assert len(bus.sent) == 1

    reconnect(bus, reports)
    scripted.until(loop, lambda: len(bus.sent) == 2)
    again = bus.settle()

    assert {p['generation'] for p in first}.isdisjoint(p['generation'] for p in again)
    assert sorted(kinds(again)) == [('facts', 1), ('heartbeat', 1)]
    [facts] = [p['data'] for p in again if p['kind'] == 'facts']
    assert facts == {'full': True, 'facts': {'x.a': 1, 'x.b': 2}}
    reports.report_facts('x', {'b': 3})
    turn(loop)
    assert [p['data']['full'] for p in bus.settle()] == [False]


def test_a_connection_on_which_nothing_was_sent_costs_no_generation(loop, bus, reports):
    bus.connected = False
    reports.start()
    bus.connected = True
    reports.connected()

    assert kinds(bus.settle()) == [('heartbeat', 1)]
    turn(loop)
    assert bus.sent == []


def test_what_piled_up_is_sent_at_a_rate_and_heartbeats_do_not_wait(loop, bus, make):
    # Given 300 events that wait, of which 100 a second may be sent, and a bus that
    # confirms at once
    reports = make(rate=100.0, count=1000)
    sent = []

    def report(body, done):
        sent.append(json.loads(json.loads(body)['oslo.message'])['payload'])
        done(base.Sent.CONFIRMED)

    bus.report = report
    bus.connected = False
    reports.report_event('x', 'first', {})
    turn(loop)
    for number in range(299):
        reports.report_event('x', str(number), {})
    turn(loop)

    # when it comes
    bus.connected = True
    reports.connected()
    assert len(sent) < 200
    reports.report_event('x', 'last', {})
    reports.start()
    turn(loop, 1)

    # then a heartbeat overtakes them, and the rest follows in order.
    assert [p['kind'] for p in sent].count('heartbeat') == 1
    scripted.until(loop, lambda: len(sent) == 302)
    types = [p['data']['type'] for p in sent if p['kind'] == 'event']
    assert types == ['x.first', *(f'x.{n}' for n in range(299)), 'x.last']
    # What comes later is sent at once.
    for number in range(500):
        reports.report_event('x', f'later-{number}', {})
    turn(loop, 1)
    assert len(sent) == 802


@pytest.mark.parametrize('what', [base.Sent.RETURNED, base.Sent.REJECTED])
def test_what_was_returned_or_rejected_does_not_count_as_sent(
    loop, bus, reports, what, caplog
):
    reports.report_event('x', 'a', {})
    turn(loop)
    bus.settle(what)
    assert not reports.idle

    scripted.until(loop, lambda: bus.sent)
    assert kinds(bus.settle()) == [('event', 1)]
    assert reports.idle
    assert what.value in caplog.text


def test_only_changes_of_facts_are_sent(loop, bus, reports):
    reports.report_facts('x', {'a': 1, 'gone': None})
    turn(loop)
    assert [p['data'] for p in bus.settle()] == [{'full': True, 'facts': {'x.a': 1}}]

    reports.report_facts('x', {'a': 1})
    turn(loop)
    assert bus.sent == []

    reports.report_facts('x', {'a': None, 'b': [1, {'c': 2}]})
    turn(loop)
    assert [p['data'] for p in bus.settle()] == [
        {'full': False, 'facts': {'x.a': None, 'x.b': [1, {'c': 2}]}}
    ]


def test_a_window_bounds_what_is_unconfirmed(loop, bus, reports):
    for number in range(reporter.WINDOW * 2):
        reports.report_event('x', str(number), {})
    turn(loop)
    assert len(bus.sent) == reporter.WINDOW

    bus.settle()
    assert len(bus.sent) == reporter.WINDOW


def test_each_agent_process_has_a_generation_of_its_own():
    assert identity.Identity('vm').generation != identity.Identity('vm').generation


def test_the_goodbye_says_so(loop, bus, reports):
    reports.start()
    reports.goodbye()
    statuses = [payload['data']['status'] for payload, _done in bus.sent]
    assert statuses == ['running', 'stopping']


def events(payloads):
    return [p['data'] for p in payloads if p['kind'] == 'event']


def test_what_was_not_sent_is_sent_by_the_next_process(loop, bus, make, tmp_path):
    path = str(tmp_path / 'spool')
    bus.connected = False
    reports = make()
    reports.restore(path)
    for number in range(3):
        reports.report_event('x', str(number), {'n': number})
    turn(loop)
    reports.close()

    bus.connected = True
    reports = make()
    reports.restore(path)
    reports.connected()
    reports.report_event('x', '3', {'n': 3})
    turn(loop)
    first = bus.settle()
    assert [event['data']['n'] for event in events(first)] == [0, 1, 2, 3]
    reports.close()

    # It was confirmed: the one after that has nothing to send.
    reports = make()
    reports.restore(path)
    assert reports.waiting == 0
    reports.close()


def test_a_confirm_that_was_prompt_leaves_the_disk_alone(loop, bus, make, tmp_path):
    reports = make()
    reports.restore(str(tmp_path / 'spool'))
    scripted.settle(loop)
    bus.settle()
    before = (tmp_path / 'spool').stat()
    reports.report_event('x', 'a', {})
    loop.run_once(0)
    bus.settle()
    scripted.settle(loop)

    after = (tmp_path / 'spool').stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


@pytest.mark.parametrize(
    ('machine_uuid', 'generation', 'expected'),
    [
        ('a', 'one', []),
        ('b', 'two', [{'noticed_by': 'uuid', 'copied': True}]),
        ('a', 'two', [{'noticed_by': 'vmgenid', 'copied': False}]),
        ('', '', []),
    ],
)
def test_a_state_folder_of_another_life_is_told(
    loop, bus, make, tmp_path, monkeypatch, machine_uuid, generation, expected
):
    here = machine.Machine('a', 'one', machine.READ)
    monkeypatch.setattr(machine, 'read', lambda: here)
    path = str(tmp_path / 'spool')
    reports = make()
    reports.restore(path)
    scripted.settle(loop)
    reports.close()
    bus.settle()

    here = machine.Machine(machine_uuid, generation, machine.READ)
    reports = make()
    reports.restore(path)
    turn(loop)

    told = events(bus.settle())
    assert [event['type'] for event in told] == ['agent.snapshot'] * len(expected)
    assert [event['data'] for event in told] == expected
    reports.close()


def test_reports_of_an_instance_before_are_not_sent(loop, bus, make, tmp_path, caplog):
    path = str(tmp_path / 'spool')
    bus.connected = False
    reports = make()
    reports.restore(path)
    reports.report_event('x', 'secret', {})
    turn(loop)
    reports.close()

    bus.connected = True
    reports = make(instance='another')
    reports.restore(path)
    reports.connected()
    turn(loop)
    assert events(bus.settle()) == []
    assert 'that of instance vm: its 1 reports are not sent' in caplog.text
    reports.close()

    reports = make()
    reports.restore(path)
    turn(loop)
    assert events(bus.settle()) == []
    reports.close()


def test_a_new_generation_id_while_it_runs_begins_a_generation(loop, bus, reports):
    reports.start()
    reports.report_event('x', 'a', {})
    turn(loop)
    before = bus.sent
    bus.sent = []

    reports.note_snapshot()
    turn(loop)
    for _payload, done in before:
        done(base.Sent.LOST)
    lost = reconnect(bus, reports)
    turn(loop)

    again = bus.settle()
    assert events(lost) == events(again)[1:]
    old = {payload['generation'] for payload, _done in before}
    assert old.isdisjoint(payload['generation'] for payload in again)
    assert [event['type'] for event in events(again)] == ['x.a', 'agent.snapshot']
    sequences = [p['sequence'] for p in again if p['kind'] == 'event']
    assert sequences == [1, 2]


def test_what_extensions_come_to_by_their_start_is_told_soon(
    loop, bus, make, monkeypatch
):
    monkeypatch.setattr(reporter, 'SOON', 0.01)
    extensions = {}
    reports = make(summaries=lambda: dict(extensions))
    reports.start()
    assert kinds(bus.settle()) == [('heartbeat', 1)]
    extensions['x'] = {'version': '1.0', 'health': 'no such device'}

    scripted.until(loop, lambda: bus.sent)

    [beat] = bus.settle()
    assert beat['data']['extensions'] == extensions


def test_where_nothing_came_of_it_nothing_is_told_soon(loop, bus, make, monkeypatch):
    monkeypatch.setattr(reporter, 'SOON', 0.01)
    looks = []
    reports = make(summaries=lambda: looks.append(1) or {})
    reports.start()
    bus.settle()

    scripted.until(loop, lambda: len(looks) == 2)

    assert bus.sent == []


def test_heartbeats_are_short_until_all_is_asked_for(loop, bus, reports):
    reports.start()
    bus.settle()
    reports.set_interval(3000)
    [short] = bus.settle()
    assert short['data'].keys() == {'status', 'interval', 'digest'}

    reports.report_all()
    turn(loop)

    whole, _ = bus.settle()
    assert whole['data']['extensions'] == {}
    assert whole['data']['digest'] == short['data']['digest']


def test_after_a_reconnect_all_is_said_again(loop, bus, reports):
    reports.start()
    bus.settle()
    reports.set_interval(3000)

    reconnect(bus, reports)
    scripted.until(loop, lambda: len(bus.sent) >= 2)

    assert all(
        'extensions' in sent['data']
        for sent in bus.settle()
        if sent['kind'] == 'heartbeat'
    )
