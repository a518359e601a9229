# SPDX-License-Identifier: Apache-2.0
"""Casts over a bus that loses, returns and rejects."""

import json

import pytest

from guestagent.agent import casting
from guestagent.bus import base
from tests.unit.agent import scripted


class Bus(scripted.Bus):
    """Keeps what is cast."""

    def cast(self, topic, body, done):
        self.sent.append(((topic, json.loads(json.loads(body)['oslo.message'])), done))

    def settle(self, what=base.Sent.CONFIRMED):
        return [message for _topic, message in super().settle(what)]


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def make(loop, bus, tmp_path, monkeypatch):
    monkeypatch.setattr(casting, 'SPACING', 0.01)
    monkeypatch.setattr(casting, 'RETRY', 0.01)
    monkeypatch.setattr(casting, 'RETRY_MAX', 0.02)

    def make(instance='vm'):
        return casting.Caster(loop, bus, instance, str(tmp_path / 'casts'), 100, 2**20)

    return make


def cast(number, latest=False):
    return casting.Cast('them', 'tell', '1.0', {'n': number}, {'who': 'me'}, latest)


def numbers(messages):
    return [message['args']['n'] for message in messages]


def test_a_cast_is_a_request_that_names_no_namespace(make, bus):
    make().cast(cast(1))

    [((topic, message), _done)] = bus.sent
    assert topic == 'them'
    assert len(message.pop('_unique_id')) == 32
    assert message == {
        'method': 'tell',
        'version': '1.0',
        'args': {'n': 1},
        '_context_who': 'me',
    }


@pytest.mark.parametrize('what', [base.Sent.RETURNED, base.Sent.REJECTED])
def test_what_nobody_takes_is_sent_again_as_the_same(make, loop, bus, what):
    caster = make()
    caster.cast(cast(1))
    [before] = bus.settle(what)
    scripted.until(loop, lambda: bus.sent)

    assert bus.settle() == [before]
    assert caster.idle


def test_what_was_lost_is_sent_again_in_order_on_the_next_connection(make, loop, bus):
    caster = make()
    for number in range(3):
        caster.cast(cast(number))
    scripted.until(loop, lambda: len(bus.sent) == 3)
    bus.connected = False
    bus.settle(base.Sent.LOST)
    bus.connected = True
    caster.connected()
    scripted.until(loop, lambda: len(bus.sent) == 3)

    assert numbers(bus.settle()) == [0, 1, 2]


def test_of_what_tells_the_present_only_the_newest_waits(make, bus):
    bus.connected = False
    caster = make()
    for number in range(3):
        caster.cast(cast(number, latest=True))
    bus.connected = True
    caster.connected()

    assert numbers(bus.settle()) == [2]


def test_a_later_process_sends_what_was_left(make, loop, bus):
    bus.connected = False
    before = make()
    before.cast(cast(1))
    before.cast(cast(2, latest=True))
    scripted.settle(loop)
    before.close()
    bus.connected = True
    caster = make()
    caster.connected()

    assert numbers(bus.settle()) == [1]
    assert caster.idle


def test_what_another_instance_has_left_is_not_sent(make, loop, bus):
    bus.connected = False
    before = make('other')
    before.cast(cast(1))
    before.close()
    bus.connected = True
    make().connected()

    assert not bus.sent


def test_two_are_not_sent_at_once(make, loop, bus):
    caster = make()
    caster.cast(cast(1))
    caster.cast(cast(2))

    assert len(bus.sent) == 1
    scripted.until(loop, lambda: len(bus.sent) == 2)
