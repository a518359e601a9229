# SPDX-License-Identifier: Apache-2.0
"""The agent finds what hangs in it, says what it takes, and shows where it is."""

import threading

import pytest

from guestagent import diagnosis, errors, extension
from guestagent.agent import machine, selfcheck
from guestagent.testing import agent


class Sticky(extension.Extension):
    """Its commands return when the test says so."""

    gate = threading.Event()

    @extension.command(mutates=False, timeout=0.1)
    def hang(self, context: extension.Context) -> None:
        """Hear nothing of the end of its time."""
        self.gate.wait(60)

    @extension.command(mutates=False)
    def fail(self, context: extension.Context) -> None:
        """Fail."""
        raise errors.GuestError('as it was told')

    @extension.command(mutates=False)
    def wait(self, context: extension.Context, secret: str) -> None:
        """Wait, within its time."""
        self.gate.wait(60)


class Slow(extension.Extension):
    """Its periodic method does not end."""

    @extension.periodic(spacing=3600)
    def watch(self) -> None:
        """Wait."""
        Sticky.gate.wait(60)


@pytest.fixture(autouse=True)
def _gate():
    Sticky.gate.clear()
    yield
    Sticky.gate.set()


@pytest.fixture
def guest(monkeypatch):
    """``guest(**options of [reports])``: an agent that looks often."""
    monkeypatch.setattr(selfcheck, 'GRACE', 0.3)
    started = []

    def start(workers=2, **options):
        options = {
            'reports': {'heartbeat_interval': 0.2, **options},
            'dispatcher': {'workers': workers},
            'DEFAULT': {'graceful_shutdown_timeout': 0},
        }
        extensions = {'sticky': Sticky, 'slow': Slow}
        started.append(agent.Agent(extensions, options=options))
        return started[-1]

    yield start
    Sticky.gate.set()
    for each in started:
        each.stop()


def own_facts(guest):
    found = {}
    for report in guest.conductor.reports:
        if report['kind'] == 'facts':
            found.update(report['data']['facts'])
    return found


def health(guest, name):
    beat = guest.conductor.heartbeat
    return beat['extensions'][name]['health'] if beat else None


def test_a_command_that_does_not_return_is_found(guest, caplog):
    made = guest()
    with pytest.raises(errors.CommandTimeout):
        made.call('sticky.hang')
    made.wait(lambda: made.conductor.events)

    [event] = made.conductor.events
    assert event['type'] == 'agent.hung'
    assert event['data']['what'] == 'sticky.hang'
    assert event['data']['seconds'] >= 0.3
    assert any('Sticky.hang' in place for place in event['data']['stack'])
    assert 'sticky.hang hangs' in caplog.text
    made.wait(lambda: health(made, 'sticky') == 'hangs: sticky.hang')
    assert health(made, 'slow') == 'ok'
    assert made.call('agent.diagnose')['workers']['hung'] == ['sticky.hang']

    Sticky.gate.set()
    made.wait(lambda: len(made.conductor.events) == 2)
    assert made.conductor.events[1]['type'] == 'agent.returned'
    made.wait(lambda: health(made, 'sticky') == 'ok')


def test_a_periodic_method_that_does_not_return_is_found(guest, monkeypatch):
    monkeypatch.setattr(selfcheck, 'PERIODIC_SECONDS', 0.2)
    made = guest()
    made.wait(lambda: made.conductor.events)
    assert made.conductor.events[0]['data']['what'] == 'slow.watch'
    made.wait(lambda: health(made, 'slow') == 'hangs: slow.watch')


def test_what_works_within_its_time_does_not_hang(guest):
    made = guest()
    made.send('sticky.wait', {'secret': 'x'})
    made.wait(lambda: made.call('agent.list'))
    beats = len(made.conductor.reports)
    made.wait(lambda: len(made.conductor.reports) >= beats + 5)
    assert made.conductor.events == []


def test_an_agent_all_of_whose_workers_hang_is_not_alive(guest):
    made = guest(workers=1)
    service = made._service
    # Its only worker is at the periodic method, and rightly so.
    arrived = []
    service.selfwatch.go_round(lambda: arrived.append('busy'))
    made.wait(lambda: arrived == ['busy'])
    selfcheck.PERIODIC_SECONDS, before = 0.1, selfcheck.PERIODIC_SECONDS
    try:
        made.wait(lambda: service.selfwatch.hangs.all_hang)
    finally:
        selfcheck.PERIODIC_SECONDS = before
    service.selfwatch.go_round(lambda: arrived.append('hung'))
    made.call('agent.list')
    assert arrived == ['busy']


def test_what_it_takes_and_does_is_reported_as_facts(guest):
    made = guest(statistics_interval=0.3)
    for _ in range(3):
        with pytest.raises(errors.GuestError, match='as it was told'):
            made.call('sticky.fail')

    def calls():
        return own_facts(made).get('agent.calls', {}).get('sticky', {})

    made.wait(lambda: calls().get('calls') == 3)
    facts = own_facts(made)
    assert calls()['errors'] == 3
    assert calls()['longest_ms'] >= calls()['mean_ms']
    assert facts['agent.memory_mib'] > 5
    assert facts['agent.snapshots_noticed_by'] == machine.read().noticed_by
    assert facts['agent.cpu_percent'] >= 0
    assert facts['agent.commands_running'] == facts['agent.commands_waiting'] == 0


def test_no_facts_of_its_own_unless_it_is_time(guest):
    made = guest()
    made.wait(lambda: len(made.conductor.reports) >= 5)
    assert 'agent.memory_mib' not in own_facts(made)


def test_a_diagnosis_shows_what_is_there_and_no_values(guest):
    made = guest()
    made.send('sticky.wait', {'secret': 'correct horse'}, caller='tester')
    made.send('sticky.wait', {'secret': 'correct horse'}, command_id='second')
    made.wait(lambda: len(made.call('agent.list')) == 2)

    found = made.call('agent.diagnose')

    assert found['instance'] == 'guest'
    assert found['bus'] == {'kind': 'bus', 'connected': True, 'connects': 1}
    assert found['workers']['size'] == 2
    assert found['spool']['sent']['heartbeat'] >= 1
    assert {command['command'] for command in found['commands']} == {'sticky.wait'}
    assert found['extensions']['slow'] == {'health': 'ok'}
    threads = {thread.get('at'): thread for thread in found['threads']}
    assert any('Slow.watch' in place for place in threads['slow.watch']['stack'])
    places = [place for thread in found['threads'] for place in thread['stack']]
    assert any('Core.diagnose' in place for place in places)
    assert 'correct horse' not in str(found)

    text = '\n'.join(diagnosis.lines(found))
    assert 'of guest, pid' in text
    assert 'bus: bus, connected, connected 1 times' in text
    assert 'command sticky.wait of tester: ' in text
    assert 'extension slow: ok' in text
    assert ', at slow.watch for ' in text


def test_a_diagnosis_of_another_version_is_shown_as_far_as_it_goes():
    assert list(diagnosis.lines({}))
