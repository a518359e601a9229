# SPDX-License-Identifier: Apache-2.0
"""Shutdown and suspend where there is no logind, and what logind would be told.

Nothing here may reach this machine: all programs are on a path that only the test
fills, and the kernel's files are copies.
"""

import time

import pytest
from guestagent_power import extension, sleeping

from devstack import processes
from guestagent import errors, testing

#: Longer than any test.
LONG = 3600


@pytest.fixture(autouse=True)
def power(tmp_path, monkeypatch):
    """Stands in for the kernel's folder."""
    folder = tmp_path / 'power'
    folder.mkdir()
    monkeypatch.setattr(sleeping, 'POWER', folder)
    return folder


@pytest.fixture
def program(tmp_path):
    """``program(name, what it does)``: one on the path, which writes down its words."""
    (tmp_path / 'bin').mkdir()

    def make(name, text='exit 0'):
        path = tmp_path / 'bin' / name
        path.write_text(
            f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "{name}" "$@" >>{tmp_path}/ran\n'
            f'{text}\n'
        )
        path.chmod(0o755)

    return make


@pytest.fixture
def ran(tmp_path):
    """What programs ran, and with which words."""
    path = tmp_path / 'ran'
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def host():
    return testing.Host()


@pytest.fixture
def start(tmp_path, host):
    def start(moment=0.0):
        options = {'path': str(tmp_path / 'bin'), 'moment': moment}
        return testing.started(extension.Power, options=options, host=host)

    return start


@pytest.mark.parametrize(
    ('mode', 'programs', 'line'),
    [
        ('poweroff', ['poweroff', 'shutdown'], 'poweroff'),
        ('reboot', ['reboot', 'shutdown'], 'reboot'),
        ('halt', ['halt', 'shutdown'], 'halt'),
        ('poweroff', ['halt', 'shutdown'], 'shutdown -h -P +0'),
        ('reboot', ['poweroff', 'shutdown'], 'shutdown -r +0'),
        ('halt', ['poweroff', 'shutdown', 'systemctl'], 'shutdown -h -H +0'),
        ('halt', ['systemctl'], 'systemctl halt'),
    ],
)
def test_the_best_program_runs(start, program, ran, host, mode, programs, line):
    for name in programs:
        program(name)
    with start() as made:
        result = testing.call(made, 'shutdown', mode=mode)
        assert result['mode'], result['by'] == (mode, 'agent')
        assert abs(result['at'] - time.time()) < 60
        processes.wait_for(ran, 'it ran')
        processes.wait_for(lambda: not made.busy(), 'it is done')
    assert ran() == [line]
    assert host.events == []


def test_the_answer_comes_first(start, program, ran):
    program('poweroff')
    with start(moment=1) as made:
        begun = time.monotonic()
        testing.call(made, 'shutdown')
        assert time.monotonic() - begun < 1 or ran() == []
        processes.wait_for(ran, 'it ran')
        assert time.monotonic() - begun >= 1


def test_a_second_shutdown_replaces_the_first(start, program, ran):
    program('reboot')
    program('poweroff')
    with start() as made:
        first = testing.call(made, 'shutdown', mode='reboot', delay=LONG)
        assert first['at'] - time.time() > LONG - 60
        testing.call(made, 'shutdown', mode='poweroff')
        processes.wait_for(ran, 'one ran')
        assert testing.call(made, 'cancel') == {'cancelled': False}
    assert ran() == ['poweroff']


def test_a_shutdown_can_be_cancelled(start, program, ran, host):
    program('poweroff')
    with start() as made:
        testing.call(made, 'shutdown', delay=LONG)
        assert made.busy()
        assert testing.call(made, 'cancel') == {'cancelled': True}
        assert not made.busy()
        assert testing.call(made, 'cancel') == {'cancelled': False}
    assert (ran(), host.events) == ([], [])


def test_an_agent_that_stops_does_what_is_due_and_tells_what_is_not(
    start, program, ran, host
):
    program('poweroff')
    with start(moment=60) as made:
        testing.call(made, 'shutdown')
    assert ran() == ['poweroff']

    with start() as made:
        testing.call(made, 'shutdown', delay=LONG)
    assert ran() == ['poweroff']
    problem = 'the agent was stopped before its time had come'
    assert host.events == [('power.failed', {'action': 'shutdown', 'error': problem})]


def test_a_program_that_fails_is_health_and_an_event(start, program, ran, host):
    program('poweroff', 'echo it does not want to >&2; exit 1')
    with start() as made:
        testing.call(made, 'shutdown')
        processes.wait_for(lambda: host.events, 'it failed')
        problem = 'poweroff failed: it does not want to'
        assert made.health() == f'shutdown: {problem}'
        assert host.events == [
            ('power.failed', {'action': 'shutdown', 'error': problem})
        ]
        # What succeeds later is health.
        program('poweroff')
        testing.call(made, 'shutdown')
        processes.wait_for(lambda: made.health() == 'ok', 'it is well')


def test_without_a_program_it_is_refused(start, program):
    with start() as made:
        with pytest.raises(
            errors.GuestError, match=r'none of halt, shutdown, systemctl in .*path'
        ):
            testing.call(made, 'shutdown', mode='halt')
        assert not made.busy()


def test_the_message_is_shown(start, program, ran, tmp_path, caplog):
    program('poweroff')
    program('wall', f'cat >{tmp_path}/shown')
    with start() as made:
        testing.call(made, 'shutdown', delay=LONG, message='-n going\ndown')
        assert ran() == ['wall']
        assert (tmp_path / 'shown').read_text() == '-n going\ndown\n'
        program('wall', 'exit 1')
        testing.call(made, 'shutdown', delay=LONG, message='going')
        assert 'the message was not shown: wall failed: exit code 1' in caplog.text
        assert made.busy()
        testing.call(made, 'cancel')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'delay': -1}, 'delay: -1 is not between 0 and 2592000 seconds'),
        ({'delay': float('nan')}, 'delay: nan is not'),
        ({'delay': 1e9}, 'delay: 1e'),
        ({'message': 'x' * 1001}, 'message: it has more than 1000 characters'),
        ({'message': 'a\x1b[2Jb'}, 'message: it must not contain control'),
        ({'message': 'a\0b'}, 'message: it must not contain control'),
        ({'message': '\ud800'}, 'message: it must not contain control'),
    ],
)
def test_what_makes_no_sense_is_refused(start, program, arguments, message):
    program('poweroff')
    with start() as made:
        with pytest.raises(errors.InvalidArgument, match=message):
            testing.call(made, 'shutdown', **arguments)
        assert not made.busy()


#: A busctl that answers as logind's does.
BUSCTL = """case $* in
    *Can*) echo 's "{can}"' ;;
    *Cancel*) echo 'b true' ;;
    *Hibernate*) echo 'Call failed: no room' >&2; exit 1 ;;
esac"""
CALL = 'busctl --system --timeout=20 -- call org.freedesktop.login1 '
CALL += '/org/freedesktop/login1 org.freedesktop.login1.Manager '


def test_logind_is_told(start, program, ran):
    program('busctl', BUSCTL.replace('*Cancel*', '*CancelS*').format(can='yes'))
    program('poweroff')
    with start(moment=5) as made:
        at = time.time()
        result = testing.call(made, 'shutdown', mode='halt', message='--help me')
        assert (result['mode'], result['by']) == ('halt', 'logind')
        # logind waits, not this.
        assert not made.busy()
    [asked, message, scheduled] = [line.removeprefix(CALL) for line in ran()]
    assert asked == 'CanPowerOff'
    assert message == 'SetWallMessage sb --help me true'
    assert scheduled.startswith('ScheduleShutdown st halt ')
    assert 0 <= int(scheduled.split()[-1]) / 1e6 - at - 5 < 60


def test_a_shutdown_of_logind_is_cancelled(start, program, ran):
    program('busctl', BUSCTL.format(can='yes').replace('*Can*)', '*CanP*)'))
    with start() as made:
        assert testing.call(made, 'cancel') == {'cancelled': True}
    assert [line.removeprefix(CALL) for line in ran()] == [
        'CanPowerOff',
        'CancelScheduledShutdown',
    ]


@pytest.mark.parametrize(
    ('kind', 'method'), [('ram', 'Suspend'), ('hybrid', 'HybridSleep')]
)
def test_logind_suspends(start, program, ran, kind, method):
    program('busctl', BUSCTL.format(can='yes'))
    with start() as made:
        assert testing.call(made, 'suspend', kind=kind) == {'kind': kind}
        processes.wait_for(lambda: not made.busy(), 'it is done')
        processes.wait_for(lambda: len(ran()) == 2, 'it was told')
    assert [line.removeprefix(CALL) for line in ran()] == [
        f'Can{method}',
        f'{method} b false',
    ]


def test_a_suspend_that_fails_later_is_health_and_an_event(start, program, host):
    program('busctl', BUSCTL.format(can='yes').replace('*Can*)', '*CanH*)'))
    with start() as made:
        testing.call(made, 'suspend', kind='disk')
        processes.wait_for(lambda: host.events, 'it failed')
        problem = 'busctl failed: Call failed: no room'
        assert made.health() == f'suspend: {problem}'
    assert host.events == [('power.failed', {'action': 'suspend', 'error': problem})]


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        ('na', 'cannot be suspended to disk: the kernel, or the lack of swap space'),
        ('challenge', 'cannot be suspended to disk: logind does not allow it: chall'),
    ],
)
def test_what_logind_knows_is_told(start, program, power, answer, message):
    program('busctl', BUSCTL.format(can=answer))
    (power / 'state').write_text('mem disk\n')
    with start() as made, pytest.raises(errors.GuestError, match=message):
        testing.call(made, 'suspend', kind='disk')


@pytest.mark.parametrize(
    ('kind', 'state', 'disk'),
    [
        ('ram', 'mem', '[platform] shutdown suspend\n'),
        ('disk', 'disk', '[platform] shutdown suspend\n'),
        ('hybrid', 'disk', 'suspend'),
    ],
)
def test_the_kernel_suspends(start, program, power, kind, state, disk):
    program('busctl', 'echo no bus >&2; exit 1')
    (power / 'state').write_text('freeze mem disk\n')
    (power / 'disk').write_text('[platform] shutdown suspend\n')
    with start() as made:
        testing.call(made, 'suspend', kind=kind)
        processes.wait_for(lambda: not made.busy(), 'it is done')
        processes.wait_for(
            lambda: (power / 'state').read_text() == state, 'it was written'
        )
    assert (power / 'disk').read_text() == disk


@pytest.mark.parametrize(
    ('kind', 'state', 'disk', 'message'),
    [
        ('ram', None, None, r'to RAM: .*/state: No such file or directory$'),
        ('ram', 'freeze\n', None, r"to RAM: the kernel does not offer it: no 'mem' in"),
        ('disk', 'mem\n', None, "to disk: the kernel does not offer it: no 'disk'"),
        ('hybrid', 'mem disk\n', '[shutdown]\n', "to RAM and disk: .*no 'suspend' in"),
    ],
)
def test_a_kernel_that_cannot(start, program, power, kind, state, disk, message):
    for name, text in (('state', state), ('disk', disk)):
        if text is not None:
            (power / name).write_text(text)
    with start() as made:
        with pytest.raises(errors.GuestError, match=message):
            testing.call(made, 'suspend', kind=kind)
        assert not made.busy()


@pytest.mark.parametrize(
    ('kind', 'name'),
    [('ram', 'suspend'), ('disk', 'hibernate'), ('hybrid', 'suspend-hybrid')],
)
def test_pm_utils_suspend(start, program, ran, kind, name):
    program('pm-is-supported')
    program(f'pm-{name}')
    with start() as made:
        testing.call(made, 'suspend', kind=kind)
        processes.wait_for(lambda: len(ran()) == 2, 'it ran')
    assert ran() == [f'pm-is-supported --{name}', f'pm-{name}']

    program('pm-is-supported', 'exit 1')
    with start() as made, pytest.raises(errors.GuestError, match='cannot be suspended'):
        testing.call(made, 'suspend', kind=kind)


def test_a_stopping_agent_suspends_nothing(start, power):
    (power / 'state').write_text('mem\n')
    with start(moment=30) as made:
        testing.call(made, 'suspend', kind='ram')
        assert made.busy()
    assert (power / 'state').read_text() == 'mem\n'
