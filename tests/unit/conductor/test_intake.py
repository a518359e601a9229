# SPDX-License-Identifier: Apache-2.0
"""Which reports count, of whom, and how many."""

import json
import os
import re

import pytest

from guestagent.bus import envelope
from guestagent.conductor import intake, report
from guestagent.conductor.db import notices, store, tables
from guestagent.seal import guest, keys, window

MASTER = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))
RING = keys.MasterRing([MASTER], keys.REPORTS)
NOW = 1_800_000_000.0


def payload(instance='vm-1', **changes):
    return {
        'id': '',
        'instance': instance,
        'kind': 'event',
        'generation': 'one',
        'sequence': 1,
        'boot_id': 'boot',
        'sent': NOW,
        'data': {'type': 'test.x', 'at': 7.0, 'data': {}},
        **changes,
    }


def seal(inside=None, instance='vm-1', line=MASTER, now=NOW):
    ring = keys.GuestRing([line.derive(instance)])
    sealer = guest.Guest(instance, ring, window.Limits(1, 1))
    return sealer.report(payload() if inside is None else inside, now)


def body(inside):
    return envelope.wrap({'payload': inside, 'publisher_id': 'guestagent.vm-1'})


def refused(target, inside, proven=False, now=NOW):
    with pytest.raises(report.Rejected) as caught:
        target.read(body(inside).encode(), proven, now)
    return str(caught.value)


def test_a_sealed_report_counts_and_tells_when_it_was_sealed():
    read = intake.Intake(RING).read(body(seal()).encode(), False, NOW)
    assert read == report.parse(payload())._replace(sealed_at=NOW)


@pytest.mark.parametrize(
    ('inside', 'text'),
    [
        (payload(), "in the name of 'vm-1': it is not sealed"),
        ({**seal(), 'instance': 'vm-2'}, "in the name of 'vm-2'.*no valid key of this"),
        ({**seal(), 'instance': 7}, 'names no instance'),
        ({**seal(), 'instance': 'no such name'}, 'it must be 1 to 200'),
        (seal(payload('vm-2')), "in the name of 'vm-1': inside, another instance"),
        (seal(line=MASTER._replace(secret=os.urandom(32))), 'no valid key'),
        (seal(line=MASTER._replace(name='other')), 'no valid key'),
        ({**seal(), 'sealed': 'rubbish'}, 'base64|too short'),
        ({**seal(), 'sealed': None}, 'not text'),
        (seal({'instance': 'vm-1'}), 'kind'),
        ([1], 'not sealed'),
    ],
)
def test_what_was_not_said_by_its_instance_does_not_count(inside, text):
    target = intake.Intake(RING)
    message = refused(target, inside)
    assert re.search(text, message), message


def test_a_key_for_commands_opens_no_report():
    line = keys.Line(keys.COMMANDS, 'conductor', True, MASTER.secret)
    forged = keys.Key(line.derive('vm-1'))
    sealed = forged.from_guest.seal(b'report', b'vm-1', json.dumps(payload()).encode())
    inside = {**seal(), 'sealed': guest.value.encode(sealed)}
    assert 'no valid key' in refused(intake.Intake(RING), inside)


def test_what_came_from_a_socket_counts_though_it_is_plain():
    target = intake.Intake(RING)
    assert target.read(body(payload()).encode(), True, NOW).instance == 'vm-1'
    allowing = intake.Intake(RING, intake.Settings(allow_plain=True))
    assert allowing.read(body(payload()).encode(), False, NOW).instance == 'vm-1'


def test_without_keys_plain_counts_and_what_is_sealed_does_not():
    target = intake.Intake()
    assert target.read(body(payload()).encode(), False, NOW).sealed_at is None
    assert 'no key to open it' in refused(target, seal())
    assert target.refused == {'seal': 1, 'plain': 0, 'flood': 0, 'revoked': 0}


def test_an_instance_is_told_of_once_an_hour():
    target = intake.Intake(RING)
    for number in range(5):
        refused(target, payload(), now=NOW + number)
    refused(target, payload('vm-2'))
    told = [(notice.instance, notice.type) for notice in target.notices()]
    assert told == [('vm-1', intake.REFUSED), ('vm-2', intake.REFUSED)]
    assert target.notices() == []
    refused(target, payload(), now=NOW + 3601)
    assert len(target.notices()) == 1
    # A clock that is set back does not silence it for ever.
    refused(target, payload(), now=NOW - 86400)
    assert len(target.notices()) == 1


def test_names_that_are_made_up_take_no_more_than_their_share():
    target = intake.Intake(RING)
    for number in range(intake._TOLD + 100):
        refused(target, payload(f'vm-{number}'))
    assert len(target._told) == intake._TOLD


def test_a_flood_is_cut_off_and_nobody_else_is():
    target = intake.Intake(RING, intake.Settings(rate=10, burst=20))
    one, two = seal(), seal(payload('vm-2'), 'vm-2')

    def taken(inside, number, now):
        count = 0
        for _ in range(number):
            try:
                target.read(body(inside).encode(), False, now)
                count += 1
            except report.Rejected:
                pass
        return count

    assert taken(one, 50, NOW) == 20
    # Forged ones are not on its account.
    assert taken({**one, 'sealed': 'rubbish'}, 50, NOW) == 0
    assert taken(two, 5, NOW) == 5
    assert taken(one, 50, NOW + 1) == 10
    assert taken(one, 50, NOW + 100) == 20
    # Nor does a clock that is set back lock anybody out.
    assert taken(one, 50, NOW - 86400) == 20
    told = {notice.type for notice in target.notices()}
    assert told == {intake.FLOOD, intake.REFUSED}
    assert target.refused['flood'] > 0


def test_who_has_paid_is_forgotten(monkeypatch):
    monkeypatch.setattr(intake, '_LOOK', 100)
    target = intake.Intake(None, intake.Settings(rate=10, burst=20))
    for number in range(1000):
        inside = payload(f'vm-{number}')
        target.read(body(inside).encode(), False, NOW + number)
    assert len(target._paid) <= 100


def test_a_future_clock_of_a_guest_changes_nothing():
    target = intake.Intake(RING)
    ahead = payload(sent=NOW + 10 * 365 * 86400)
    target.read(body(seal(ahead)).encode(), False, NOW)
    assert target.read(body(seal()).encode(), False, NOW).instance == 'vm-1'


def test_notices_are_written_of_instances_that_are_known(database, make):
    now = 5.0
    store.Store(database).apply([make(instance='vm-1')], now)
    made = [
        intake.Notice(name, intake.REFUSED, {'reason': 'seal'})
        for name in ('vm-1', 'vm-2')
    ]
    notices.Notices(database).write(made, now)
    with database.reader.begin() as connection:
        events = tables.events
        query = events.select().where(events.c.type == intake.REFUSED)
        rows = connection.execute(query).all()
    assert [(row.instance, row.type, row.data) for row in rows] == [
        ('vm-1', intake.REFUSED, '{"reason": "seal"}')
    ]
