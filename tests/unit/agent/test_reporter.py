# SPDX-License-Identifier: Apache-2.0
"""Reports over a bus that loses, returns and rejects."""

import json

import pytest

from guestagent import loop as loops
from guestagent.agent import reporter
from guestagent.bus import base


class ScriptedBus(base.Bus):
    """Keeps what is reported, and answers when and as it is told."""

    def __init__(self):
        self.sent = []
        self.connected = True

    def report(self, body, done):
        payload = json.loads(json.loads(body)['oslo.message'])['payload']
        self.sent.append((payload, done))

    def confirm(self, what=base.Sent.CONFIRMED):
        sent, self.sent = self.sent, []
        for _payload, done in sent:
            done(what)
        return [payload for payload, _done in sent]


@pytest.fixture
def loop():
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture
def bus():
    return ScriptedBus()


@pytest.fixture
def reports(loop, bus, monkeypatch):
    monkeypatch.setattr(reporter, 'RETRY', 0.01)
    monkeypatch.setattr(reporter, 'RETRY_MAX', 0.02)
    return reporter.Reporter(
        loop, bus, reporter.Identity('vm'), interval=3600, size=100, summaries=dict
    )


def turn(loop, times=3):
    for _ in range(times):
        loop.run_once(0.03)


def kinds(payloads):
    return [(p['kind'], p['sequence']) for p in payloads]


def test_what_is_lost_with_a_connection_is_sent_again_as_it_was(loop, bus, reports):
    reports.report_event('x', 'a', {})
    reports.report_event('x', 'b', {})
    turn(loop)
    bus.connected = False
    first = bus.confirm(base.Sent.LOST)
    reports.report_event('x', 'c', {})
    turn(loop)
    assert bus.sent == []

    bus.connected = True
    reports.connected()
    again = bus.confirm()

    assert kinds(first) == [('event', 1), ('event', 2)]
    assert kinds(again) == [('event', 1), ('event', 2), ('event', 3)]
    assert [p['data']['type'] for p in again] == ['x.a', 'x.b', 'x.c']
    assert reports.idle


@pytest.mark.parametrize('what', [base.Sent.RETURNED, base.Sent.REJECTED])
def test_what_was_returned_or_rejected_does_not_count_as_sent(
    loop, bus, reports, what, caplog
):
    reports.report_event('x', 'a', {})
    turn(loop)
    bus.confirm(what)
    assert not reports.idle

    for _ in range(100):
        loop.run_once(0.03)
        if bus.sent:
            break
    assert kinds(bus.confirm()) == [('event', 1)]
    assert reports.idle
    assert what.value in caplog.text


def test_only_changes_of_facts_are_sent(loop, bus, reports):
    reports.report_facts('x', {'a': 1, 'gone': None})
    turn(loop)
    assert [p['data'] for p in bus.confirm()] == [{'full': True, 'facts': {'x.a': 1}}]

    reports.report_facts('x', {'a': 1})
    turn(loop)
    assert bus.sent == []

    reports.report_facts('x', {'a': None, 'b': [1, {'c': 2}]})
    turn(loop)
    assert [p['data'] for p in bus.confirm()] == [
        {'full': False, 'facts': {'x.a': None, 'x.b': [1, {'c': 2}]}}
    ]


def test_a_window_bounds_what_is_unconfirmed(loop, bus, reports):
    for number in range(reporter.WINDOW * 2):
        reports.report_event('x', str(number), {})
    turn(loop)
    assert len(bus.sent) == reporter.WINDOW

    bus.confirm()
    assert len(bus.sent) == reporter.WINDOW


def test_each_agent_process_has_a_generation_of_its_own():
    assert reporter.Identity('vm').generation != reporter.Identity('vm').generation


def test_the_goodbye_says_so(loop, bus, reports):
    reports.start()
    reports.goodbye()
    statuses = [payload['data']['status'] for payload, _done in bus.sent]
    assert statuses == ['running', 'stopping']
