# SPDX-License-Identifier: Apache-2.0
"""An agent with keys: what it answers, what it drops, and what it remembers."""

import dataclasses
import os
import time

import pytest

from guestagent import errors, extension
from guestagent.agent import trust
from guestagent.seal import caller, keys
from guestagent.testing import agent

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
REPORTS = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))


class Counter(extension.Extension):
    """Counts how often it ran."""

    runs = 0

    @extension.command(mutates=True)
    def up(self, context, by: int = 1) -> dict[str, object]:
        type(self).runs += by
        return {'runs': type(self).runs, 'caller': context.caller, **context.values}

    @extension.command(mutates=False)
    def read(self, context) -> int:
        return type(self).runs


@dataclasses.dataclass
class Bed:
    """A guest's key file and state folder, and a caller who has the master key."""

    folder: object
    caller: caller.Caller

    def __post_init__(self):
        self.keys = self.folder / 'keys'
        self.write(NOVA.derive('vm-1'))

    def write(self, *lines):
        self.keys.write_text(''.join(f'{line}\n' for line in lines))
        self.keys.chmod(0o600)

    def agent(self, **options):
        return agent.Agent(
            {'counter': Counter},
            options={'seal': {'key_file': str(self.keys), **options}},
            instance='vm-1',
            state_dir=str(self.folder / 'state'),
        )

    def seal(self, method='up', command_id='c-1', waits=True, ago=0.0, **args):
        return self.caller.seal(
            'vm-1',
            'counter',
            method,
            '1.0',
            args,
            {'user': 'x'},
            command_id,
            waits=waits,
            lifetime=60,
            now=time.time() - ago,
        )


@pytest.fixture
def bed(tmp_path, monkeypatch):
    monkeypatch.setattr(Counter, 'runs', 0)
    return Bed(tmp_path, caller.Caller(keys.MasterRing([NOVA], keys.COMMANDS)))


def call(guest, bed, sent):
    """Send what was sealed; return the result, and the failure if it is one."""
    return bed.caller.open(sent, guest.call('sealed.invoke', {'value': sent.value}))


def dropped(guest):
    return guest._service.dispatcher.counts.dropped


def send_and_drop(guest, command, args, reason, **options):
    """Send what must get no answer; return when it was dropped."""
    before = dropped(guest).get(reason, 0)
    sent = guest.send(command, args, **options)
    guest.wait(lambda: dropped(guest).get(reason, 0) > before)
    assert not sent.replies
    outcomes = [outcome['outcome'] for outcome in guest.conductor.outcomes]
    assert set(outcomes) <= {'done'}


def test_a_sealed_command_runs_as_its_caller_with_its_context(bed):
    with bed.agent() as guest:
        result, failure = call(guest, bed, bed.seal(by=2))
        assert (result, failure) == ({'runs': 2, 'caller': 'nova', 'user': 'x'}, None)


def test_failures_come_sealed_too(bed):
    with bed.agent() as guest:
        for sent, kind in (
            (bed.seal('nope'), 'NoSuchMethod'),
            (bed.seal(by='x'), 'TypeError'),
            (bed.seal(by=1), None),
            (bed.seal(by=2), 'IdReused'),
        ):
            _, failure = call(guest, bed, sent)
            assert (failure or {}).get('class') == kind


def test_all_that_is_not_sealed_for_this_guest_gets_no_answer(bed):
    stranger = caller.Caller(
        keys.MasterRing([NOVA._replace(secret=os.urandom(32))], keys.COMMANDS)
    )
    with bed.agent(allow_plain=True) as guest:
        sent = bed.seal()
        call(guest, bed, sent)
        for command, args, reason in (
            ('counter.up', {}, 'plain'),
            ('counter.read', {}, 'plain'),
            ('oslo_rpc_server_ping', {}, 'plain'),
            ('sealed.nope', {}, 'plain'),
            ('sealed.invoke', {}, 'shape'),
            ('sealed.invoke', {'value': 'rubbish!'}, 'shape'),
            ('sealed.invoke', {'value': sent.value}, 'repeated'),
        ):
            send_and_drop(guest, command, args, reason)
            send_and_drop(guest, command, args, reason, wanted=False)
        bed.caller = stranger
        send_and_drop(guest, 'sealed.invoke', {'value': bed.seal().value}, 'key')
        assert Counter.runs == 1


def test_what_came_before_a_restart_is_known_after_it(bed):
    told = bed.seal('up', 'c-2', waits=False)
    with bed.agent() as guest:
        asked = bed.seal()
        call(guest, bed, asked)
        guest.cast('sealed.invoke', {'value': told.value})
        guest.wait(lambda: Counter.runs == 2)
    with bed.agent() as guest:
        for sent in (asked, told):
            for wanted in (True, False):
                args = {'value': sent.value}
                send_and_drop(guest, 'sealed.invoke', args, 'repeated', wanted=wanted)
        assert Counter.runs == 2


def test_what_waited_for_a_restart_is_taken_or_sealed_anew(bed):
    with bed.agent() as guest:
        call(guest, bed, bed.seal())
    asked, told = bed.seal('up', 'c-2'), bed.seal('up', 'c-3', waits=False)
    with bed.agent() as guest:
        guest.cast('sealed.invoke', {'value': told.value})
        guest.wait(lambda: Counter.runs == 2)
        _, failure = call(guest, bed, asked)
        assert failure['class'] == 'ClockSkew'
        assert bed.caller.adjust(asked, failure)
        result, _ = call(guest, bed, bed.seal('up', 'c-2'))
        assert result['runs'] == 3


def test_a_wrong_clock_is_told_to_who_waits_and_to_nobody_else(bed):
    with bed.agent() as guest:
        old = bed.seal(ago=7200)
        _, failure = call(guest, bed, old)
        assert failure['class'] == 'ClockSkew'
        assert failure['kwargs']['clock'] == pytest.approx(time.time(), abs=30)
        args = {'value': old.value}
        # Turned into a cast by who has recorded it.
        send_and_drop(guest, 'sealed.invoke', args, 'skewed', wanted=False)
        ahead = bed.seal(ago=-7200, waits=False)
        args = {'value': ahead.value}
        send_and_drop(guest, 'sealed.invoke', args, 'skewed', wanted=False)
        assert Counter.runs == 0


def test_a_snapshot_lets_in_nothing_that_was_sealed_before(bed):
    with bed.agent() as guest:
        before = bed.seal()
        guest._service._note_snapshot()
        _, failure = call(guest, bed, before)
        assert failure['kwargs']['epoch']
        assert bed.caller.adjust(before, failure)
        assert call(guest, bed, bed.seal())[1] is None


def test_a_file_that_was_damaged_lets_in_nothing_of_before(bed, caplog):
    told = bed.seal('up', 'c-2', waits=False)
    with bed.agent() as guest:
        call(guest, bed, bed.seal())
        guest.cast('sealed.invoke', {'value': told.value})
        guest.wait(lambda: Counter.runs == 2)
    path = bed.folder / 'state' / 'replay'
    data = bytearray(path.read_bytes())
    data[0] ^= 255
    path.write_bytes(data)
    with bed.agent() as guest:
        args = {'value': told.value}
        send_and_drop(guest, 'sealed.invoke', args, 'skewed', wanted=False)
        assert Counter.runs == 2
    assert 'was damaged' in caplog.text


def test_keys_change_while_the_agent_runs(bed, caplog):
    new = NOVA._replace(secret=os.urandom(32))
    later = caller.Caller(keys.MasterRing([new], keys.COMMANDS))
    with bed.agent() as guest:
        old = bed.caller
        bed.caller = later
        send_and_drop(guest, 'sealed.invoke', {'value': bed.seal().value}, 'key')
        soon = time.time() + 2
        bed.write(NOVA.derive('vm-1')._replace(until=soon), new.derive('vm-1'))
        guest._service.path.trust.reload()
        assert call(guest, bed, bed.seal())[1] is None
        bed.caller = old
        if time.time() < soon - 1:
            assert call(guest, bed, bed.seal(command_id='c-2'))[1] is None
        guest.wait(lambda: time.time() > soon)
        send_and_drop(guest, 'sealed.invoke', {'value': bed.seal().value}, 'key')
        bed.keys.write_text('commands nova gam1-SECRET\n')
        guest._service.path.trust.reload()
        bed.caller = later
        assert call(guest, bed, bed.seal(command_id='c-3'))[1] is None
    assert 'the keys stay as they were' in caplog.text
    assert 'SECRET' not in caplog.text


def test_results_are_bounded_before_they_are_sealed(bed):
    with bed.agent() as guest:
        guest._service.path.trust.unseal[0]._size_max = 20
        _, failure = call(guest, bed, bed.seal())
        assert failure['class'] == 'ResultTooLarge'


def test_reports_are_sealed_where_there_is_a_key_for_them(bed):
    bed.write(NOVA.derive('vm-1'), REPORTS.derive('vm-1'))
    made = trust.Trust(_conf(bed, key_file=str(bed.keys)), None, 'vm-1')
    sealed = made.report({'instance': 'vm-1', 'kind': 'heartbeat'})
    ring = keys.MasterRing([REPORTS], keys.REPORTS)
    opened = caller.open_report(ring, 'vm-1', sealed['sealed'], time.time())
    assert opened == {'instance': 'vm-1', 'kind': 'heartbeat'}


def test_without_a_key_only_what_reads_is_taken(bed, caplog):
    with agent.Agent(
        {'counter': Counter, 'exec': Counter}, options={'seal': {'allow_plain': False}}
    ) as guest:
        assert guest.call('counter.read') == 0
        for command in ('counter.up', 'exec.read', 'exec.up'):
            with pytest.raises(errors.Refused, match='allow_plain = true'):
                guest.call(command)
    assert 'no key is set' in caplog.text


def test_without_a_key_plain_commands_can_be_allowed(bed, caplog):
    with agent.Agent(
        {'counter': Counter}, options={'seal': {'allow_plain': True}}
    ) as guest:
        assert guest.call('counter.up')['runs'] == 1
    assert 'everybody who can write to the bus' in caplog.text


def test_a_master_key_does_not_get_into_a_guest(bed):
    bed.write(NOVA)
    with pytest.raises(errors.ConfigError, match='a guest must not have one'):
        trust.Trust(_conf(bed, key_file=str(bed.keys)), None, 'vm-1')


def _conf(bed, **seal):
    state = str(bed.folder / 'state')
    return agent._configuration({}, 'vm-1', state, {'seal': seal})
