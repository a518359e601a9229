# SPDX-License-Identifier: Apache-2.0
"""A whole agent on a bus that loses, repeats, delays and reorders."""

import itertools
import json
import threading

import pytest
from oslo_config import cfg

from guestagent import errors, extension
from guestagent.agent import reporter
from guestagent.testing import conductor, fates


class Counter(extension.Extension):
    options = (cfg.IntOpt('first', default=0),)

    def start(self) -> None:
        self.count = self.conf.first
        # Commands run side by side.
        self.lock = threading.Lock()

    @extension.command(mutates=True)
    def add(self, context: extension.Context, by: int = 1) -> int:
        """Count."""
        with self.lock:
            self.count += by
            self.report_facts({'count': self.count})
            self.report_event('counted', {'count': self.count})
            return self.count

    @extension.command(mutates=False)
    def fail(self, context: extension.Context, kind: str) -> None:
        """Fail."""
        if kind == 'ours':
            raise errors.InvalidArgument('no such thing')
        if kind == 'odd':
            raise cfg.Error('odd')
        raise LookupError('not there')


@pytest.fixture
def guest(guestagent_agent, monkeypatch):
    monkeypatch.setattr(reporter, 'RETRY', 0.01)
    monkeypatch.setattr(reporter, 'RETRY_MAX', 0.02)
    return guestagent_agent(counter=Counter, options={'counter': {'first': '10'}})


def test_a_call_is_answered_and_reports_reach_the_conductor(guest):
    assert guest.call('counter.add', {'by': 2}) == 12
    guest.wait(lambda: guest.conductor.events and guest.conductor.facts)
    assert guest.conductor.facts == {'counter.count': 12}
    assert guest.conductor.events[0]['type'] == 'counter.counted'
    assert guest.conductor.heartbeat['extensions']['counter']['health'] == 'ok'


def test_errors_are_raised_as_a_client_would(guest):
    with pytest.raises(errors.InvalidArgument, match='no such thing'):
        guest.call('counter.fail', {'kind': 'ours'})
    with pytest.raises(LookupError, match='not there'):
        guest.call('counter.fail', {'kind': 'builtin'})
    with pytest.raises(Exception, match='Error: odd'):
        guest.call('counter.fail', {'kind': 'odd'})
    with pytest.raises(TypeError, match="argument 'by' must be int"):
        guest.call('counter.add', {'by': 'x'})
    with pytest.raises(errors.UnsupportedVersion):
        guest.call('nobody.add')


def test_a_request_that_is_delivered_twice_runs_once(guest):
    guest.bus.requests.script = iter([fates.REPEAT])
    assert guest.call('counter.add') == 11
    assert guest.call('counter.add') == 12
    assert len(guest.bus.deliveries) == 3


def test_a_caller_whose_reply_was_lost_repeats_and_nothing_runs_twice(guest):
    guest.bus.replies.script = iter([fates.LOSE])
    with pytest.raises(TimeoutError, match=r'counter\.add'):
        guest.call('counter.add', caller='c', command_id='1', seconds=0.3)
    assert guest.call('counter.add', caller='c', command_id='1') == 11
    with pytest.raises(errors.IdReused):
        guest.call('counter.add', {'by': 5}, caller='c', command_id='1')


def test_a_held_request_arrives_behind_the_next(guest):
    guest.bus.requests.script = iter([fates.HOLD])
    first, second = guest.send('counter.add'), guest.send('counter.add', {'by': 100})
    guest.wait(lambda: first.answered and second.answered)
    assert [len(call.replies) for call in (first, second)] == [1, 1]
    kinds = [delivery.acknowledged for delivery in guest.bus.deliveries]
    assert kinds == [True, True]


def test_a_held_request_arrives_though_none_follows(guest):
    guest.bus.requests.script = iter([fates.HOLD, fates.delay(0.05)])
    assert guest.call('counter.add') == 11
    assert guest.call('counter.add') == 12


def test_a_cast_is_reported(guest):
    guest.cast('counter.add', caller='c', command_id='7')
    guest.wait(lambda: guest.conductor.outcomes)
    assert guest.conductor.outcomes[0]['result'] == 11
    assert guest.conductor.outcomes[0]['command_id'] == '7'


@pytest.mark.parametrize('seed', range(3))
def test_no_event_is_lost_or_counted_twice_on_a_bad_bus(guest, seed):
    guest.bus.reports.script = fates.chance(
        seed, lose=0.1, repeat=0.1, hold=0.1, late=0.1
    )
    for _ in range(40):
        guest.cast('counter.add')
    refusals = iter([fates.RETURN, fates.REJECT])
    guest.bus.reports.script = itertools.chain(refusals, guest.bus.reports.script)
    guest.wait(
        lambda: (
            len(guest.conductor.events) == 40 and len(guest.conductor.outcomes) == 40
        )
    )
    guest.wait(lambda: guest.conductor.facts.get('counter.count') == 50)
    counts = sorted(event['data']['count'] for event in guest.conductor.events)
    assert counts == list(range(11, 51))
    assert len(guest.conductor.reports) > 81  # some came twice


def test_the_same_guest_once_more(guest, guestagent_agent):
    guest.call('counter.add')
    guest.wait(lambda: guest.conductor.facts)
    guest.stop()
    assert guest.conductor.heartbeat['status'] == 'stopping'

    again = guestagent_agent(counter=Counter, conductor=guest.conductor)

    again.wait(lambda: guest.conductor.heartbeat['status'] == 'running')
    assert again.call('counter.add') == 1
    again.wait(lambda: guest.conductor.facts == {'counter.count': 1})


def test_the_same_seed_is_the_same_script():
    one, two, other = (
        list(itertools.islice(fates.chance(seed, lose=0.3, late=0.3), 50))
        for seed in (1, 1, 2)
    )
    assert one == two != other
    assert fates.LOSE in one
    assert fates.PASS in one


def report(sequence, data, kind='facts', generation='g'):
    payload = {
        'kind': kind,
        'data': data,
        'generation': generation,
        'sequence': sequence,
    }
    return json.dumps({'oslo.message': json.dumps({'payload': payload})})


def test_the_stand_in_orders_facts_by_the_wires_rules():
    made = conductor.Conductor()
    made.take(report(1, {'full': True, 'facts': {'x.a': 1, 'x.b': 1}}))
    made.take(report(3, {'full': False, 'facts': {'x.a': None, 'x.c': 3}}))
    made.take(report(2, {'full': False, 'facts': {'x.a': 2, 'x.b': 2}}))
    assert made.facts == {'x.b': 2, 'x.c': 3}

    made.take(report(1, {'full': True, 'facts': {'x.d': 1}}, generation='h'))
    made.take(report(4, {'full': False, 'facts': {'x.a': 4, 'x.d': 4}}))
    made.take(report(1, {'full': True, 'facts': {'x.d': 9}}, generation='h'))
    assert made.facts == {'x.d': 1}
    assert len(made.reports) == 6
