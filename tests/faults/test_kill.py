# SPDX-License-Identifier: Apache-2.0
"""Agent, hub and conductor, killed at each call by which a command lives.

What strace kills has done nothing of that call: the step before it is the last that was
done.  A point that no command reaches is passed over; the tests say how many must be
reached.
"""

import threading

import pytest

from devstack import processes
from guestagent import errors
from tests.faults import killing
from tests.faults.conftest import needs_strace
from tests.functional import hubs

pytestmark = [pytest.mark.functional, needs_strace]

SENDS = 'sendto,sendmsg'
RECEIVES = 'recvfrom,recvmsg'
#: Of an agent: it takes a request, writes and syncs, answers, and writes again.
AGENT = [
    *((SENDS, nth) for nth in (1, 2)),
    *(('pwrite64', nth) for nth in (1, 2, 3, 4)),
    *(('fdatasync', nth) for nth in (1, 2)),
    *(('write', nth) for nth in (1, 2, 3)),
    (RECEIVES, 2),
]
QUIET = {'reports': {'heartbeat_interval': 60, 'splay': 0}}


def outcome_of(guests, command_id):
    try:
        return guests.conductor.within(1).command_show('vm-1', command_id)['outcome']
    except (errors.NoSuchRecord, errors.NoSuchInstance, errors.Transient):
        return None


def test_an_agent_killed_at_any_point_loses_no_command_and_runs_none_twice(
    agent, conductor, guests, marks, tmp_path
):
    conductor()
    reached, outcomes = 0, {}
    for number, (calls, nth) in enumerate(AGENT):
        child = agent('vm-1', extensions='probe', options=QUIET)
        verb = ('mark', 'mark_again')[number % 2]
        command_id = f'{verb}.{number}'
        with killing.Trap(child, tmp_path, calls, nth) as trap:
            guests.cast(
                'vm-1', f'probe.{verb}', {'text': command_id}, command_id=command_id
            )
            reached += trap.wait(lambda name=command_id: outcome_of(guests, name))
        if child.running:
            child.kill()
        # The next one has to see to what this one has left.
        child = agent('vm-1', extensions='probe', options=QUIET)
        outcomes[command_id] = processes.wait_for(
            lambda name=command_id: outcome_of(guests, name), f'{command_id} ends', 120
        )
        child.kill()

    assert reached >= 8
    for command_id, outcome in outcomes.items():
        ran = marks().count(command_id)
        if command_id.startswith('mark_again'):
            assert outcome == 'done'
            assert 1 <= ran <= 2
        else:
            assert (outcome, ran) in {
                ('done', 1), ('interrupted', 0), ('interrupted', 1)
            }, command_id  # fmt: skip
    assert 'done' in outcomes.values()


def test_a_conductor_killed_at_any_point_takes_each_report_once(
    agent, conductor, guests, tmp_path
):
    points = [
        *(('pwrite64', nth) for nth in (1, 4)),
        *(('fdatasync', nth) for nth in (1, 2)),
        *((SENDS, nth) for nth in (1, 2)),
        (RECEIVES, 2),
    ]
    child = conductor()
    agent('vm-1', extensions='probe', options=QUIET)
    reached = 0
    for number, (calls, nth) in enumerate(points):
        with killing.Trap(child, tmp_path, calls, nth) as trap:
            guests.call(
                'vm-1', 'probe.tell', {'facts': {'n': number}, 'event': f'e{number}'}
            )
            reached += trap.wait(lambda last=number: f'probe.e{last}' in told(guests))
        if not child.running:
            child = conductor()
        processes.wait_for(
            lambda last=number: f'probe.e{last}' in told(guests), 'it is known', 120
        )

    assert reached >= 4
    found = processes.wait_for(lambda: told(guests), 'the events')
    assert found == [f'probe.e{number}' for number in range(len(points))]
    facts = processes.wait_for(
        lambda: guests.conductor.facts_get('vm-1', 'probe.')['facts'], 'facts'
    )
    assert facts['probe.n']['value'] == len(points) - 1


def told(guests):
    """Return the types of the events that the conductor has, if it answers."""
    try:
        found = guests.conductor.within(1).event_list('vm-1', type='probe.*')
    except (errors.NoSuchInstance, errors.Transient):
        return []
    return [event['type'] for event in found['events']]


@pytest.mark.parametrize('bus_url', ['channel'], indirect=True)
def test_a_hub_killed_at_any_point_loses_no_command_and_runs_none_twice(
    agent, conductor, guests, marks, tmp_path, children
):
    hub = next(child for child in children if child.name == 'hub')
    conductor()
    agent('vm-1', extensions='probe', options=QUIET)
    points = [(calls, nth) for calls in (SENDS, RECEIVES) for nth in (1, 2, 3)]
    reached, answers = 0, {}
    for number, (calls, nth) in enumerate(points):
        command_id = f'id-{number}'
        with killing.Trap(hub, tmp_path, calls, nth) as trap:
            caller = threading.Thread(target=insist, args=(guests, command_id, answers))
            caller.start()
            reached += trap.wait(lambda name=command_id: name in answers)
        if not hub.running:
            hub = hubs.Hub(tmp_path, '--guest', 'vm-1')
            children.append(hub)
        caller.join(180)

    assert reached >= 3
    assert marks() == [f'id-{number}' for number in range(len(points))]
    assert list(answers.values()) == list(range(1, len(points) + 1))


def insist(guests, command_id, answers):
    """Repeat a call with one id until it is answered."""

    def answered():
        try:
            answers[command_id] = guests.call(
                'vm-1', 'probe.mark', {'text': command_id}, command_id=command_id,
                timeout=20, attempt_timeout=5,
            )  # fmt: skip
        except (errors.Transient, errors.NoSuchInstance):
            return False
        return True

    processes.wait_for(answered, f'{command_id} is answered', 120, spacing=0.2)
