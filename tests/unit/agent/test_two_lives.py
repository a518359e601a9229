# SPDX-License-Identifier: Apache-2.0
"""A guest that is put back to a snapshot of its memory while it runs.

No tool here can do that to a process, so the rules are run twice from one state: the
spool and the identity are copied, as a snapshot copies them, random numbers included.
"""

import copy
import json
import time
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent.agent import identity, spool
from guestagent.conductor import report, rules, state


class Life:
    """What an agent has in memory, and the conductor that hears of it."""

    def __init__(self, known, events):
        self.who = identity.Identity('i')
        self.box = spool.Spool(1000, 1_000_000)
        self.known, self.events = known, events
        self.on_way = []

    def snapshot(self):
        copied = copy.copy(self)
        copied.who, copied.box, copied.on_way = copy.deepcopy(
            (self.who, self.box, self.on_way)
        )
        return copied

    def live(self, steps, name):
        for number, step in enumerate(steps):
            if step == 'event':
                data = {'type': f'x.{name}-{number}', 'at': 1.0, 'data': {}}
                self.box.add(spool.EVENT, data)
            elif step == 'send' and (sent := self.box.take()) is not None:
                self.on_way.append(sent)
                self._arrive(sent)
            elif step == 'confirm' and self.on_way:
                self.box.confirmed(self.on_way.pop(0))

    def reconnect(self):
        while self.on_way:
            self.box.give_back(self.on_way.pop(0))
        self.who.renew()
        self.box.begin()

    def drain(self):
        while (sent := self.box.take()) is not None:
            self._arrive(sent)

    def _arrive(self, sent):
        payload = {
            'id': sent.id,
            'instance': 'i',
            'kind': sent.kind,
            'generation': self.who.generation,
            'sequence': sent.sequence,
            'boot_id': 'boot',
            'sent': time.time(),
            'data': json.loads(sent.text),
        }
        changes = rules.decide([report.parse(payload)], self.known, 1.0)
        for key, (_order, event) in changes.events.items():
            self.events.setdefault(key, event)


HEARD = st.lists(st.sampled_from(['event', 'send', 'confirm']), max_size=30)
UNHEARD = st.lists(st.sampled_from(['event', 'send']), max_size=30)


@settings(deadline=None)
@mock.patch.object(spool.os, 'urandom', bytes)
@given(before=HEARD, lost=HEARD, unnoticed=UNHEARD, after=HEARD)
def test_nothing_said_in_either_life_is_taken_for_the_other(
    before, lost, unnoticed, after
):
    # Given a guest that lives on after a snapshot,
    events = {}
    known = state.Known({'i': state.Instance('i', state.NEW, 1.0, 1.0)})
    first = Life(known, events)
    first.live(before, 'before')
    second = first.snapshot()
    first.live(lost, 'lost')
    first.reconnect()
    first.drain()
    # when it is put back, goes on for a while as if nothing had been, to nobody's
    # knowledge, and then finds its connection dead,
    deaf = second.snapshot()
    deaf._arrive = lambda sent: None
    deaf.live(['event', *unnoticed], 'unnoticed')
    deaf.reconnect()
    del deaf._arrive
    deaf.live(after, 'after')
    deaf.drain()

    # then all that was said in either is on record, once.
    said = sorted(event.type for event in events.values())
    expected = [
        f'x.{name}-{number}'
        for name, steps in (
            ('before', before),
            ('lost', lost),
            ('unnoticed', ['event', *unnoticed]),
            ('after', after),
        )
        for number, step in enumerate(steps)
        if step == 'event'
    ]
    assert said == sorted(expected)
