# SPDX-License-Identifier: Apache-2.0
"""Programs that cannot be loaded, and processes that break the protocol."""

import os
import signal
import sys
import time

import pytest
from oslo_config import cfg

from guestagent import errors, testing
from guestagent.agent.isolation import loading, process, session
from guestagent.testing import agent
from tests.unit.agent import isolation_bed as bed


def test_what_cannot_be_loaded_says_why(load):
    with pytest.raises(errors.ExtensionDied, match=r'no attribute .Missing'):
        load(kind='Missing')
    with pytest.raises(errors.ExtensionDied, match='JSON cannot carry'):
        load(kind='BadAnnotation')


@pytest.mark.parametrize(
    ('command', 'said'),
    [
        ('', 'full path'),
        ('weather', 'full path'),
        ('/bin/sh "x', 'No closing quotation'),
    ],
)
def test_a_command_must_make_sense(command, said):
    conf = bed.configuration('weather', command=command)
    with pytest.raises(errors.ConfigError, match=said):
        loading.program('weather', conf, None)


def test_a_program_that_is_not_there_is_named():
    conf = bed.configuration('weather', command='/nowhere/weather')
    with pytest.raises(errors.ExtensionDied, match=r'code 127.*/nowhere/weather'):
        loading.load('weather', conf, loading.program('weather', conf, None))


@pytest.mark.parametrize(
    ('how', 'said'),
    [
        ('garbage', "a line is not JSON: 'what is this"),
        ('array', 'a line is no message'),
        ('closes', 'closed its output'),
        ('giant', 'longer than'),
        ('half', 'ended with exit code 0'),
        ('bad_id', "has the id 'x'"),
        ('bad_percent', "is 'half', not a number"),
    ],
)
def test_a_process_that_breaks_the_protocol_is_killed(bad, monkeypatch, how, said):
    monkeypatch.setattr(process, 'TERM_SECONDS', 0.2)
    host = testing.Host()
    with testing.started(bad(how), name='isolated', host=host) as made:
        with pytest.raises(errors.ExtensionDied, match=said):
            testing.call(made, 'run')
        assert host.events[0][0] == 'isolated.crashed'


@pytest.mark.parametrize(
    ('how', 'said'),
    [
        ('silent', 'no hello within'),
        ('other_protocol', 'speaks protocol 2'),
        ('no_mutates', 'whether it mutates'),
        ('no_option', "the option 'period', which does not exist"),
        ('takes_a_name', "the name 'stop' is taken"),
        ('exits', 'ended with exit code 0'),
    ],
)
def test_a_hello_that_is_none_ends_the_load(bad, monkeypatch, how, said):
    if how == 'silent':
        monkeypatch.setattr(session, 'HELLO_SECONDS', 0.3)
    with pytest.raises(errors.ExtensionDied, match=said):
        bad(how)


@pytest.mark.parametrize('how', ['floods', 'unasked'])
def test_one_that_floods_is_held_back_and_still_answers(bad, caplog, how):
    host = testing.Host()
    with testing.started(bad(how), name='isolated', host=host) as made:
        assert testing.call(made, 'run') == 'done'
    assert len(host.events) < 20_000
    assert 'is held back' in caplog.text


def test_what_it_says_to_standard_error_is_bounded(bad):
    with testing.started(bad('floods_stderr'), name='isolated') as made:
        assert testing.call(made, 'run') == 'done'


def test_one_that_ignores_sigterm_is_killed(bad, monkeypatch):
    monkeypatch.setattr(process, 'STOP_SECONDS', 0.1)
    monkeypatch.setattr(process, 'TERM_SECONDS', 0.1)
    with testing.started(bad('ignores_sigterm'), name='isolated') as made:
        pid = testing.call(made, 'run')
    bed.wait(lambda: not bed.alive(pid), 'its end')


def test_one_that_never_reads_costs_its_own_calls_only(bad, monkeypatch):
    monkeypatch.setattr(session, 'CANCEL_SECONDS', 0.1)
    with agent.Agent({'isolated': bad('never_reads')}) as guest:
        sent = guest.send('isolated.run', {}, command_id='1')
        guest.wait(lambda: guest.conductor.events)
        large = guest.send('isolated.run', {'x': 'y' * 2**20}, command_id='2')
        guest.wait(lambda: large.answered)  # refused: there is no such argument
        guest.call('agent.cancel', {'command_id': '1'})
        guest.wait(lambda: sent.answered and len(guest.conductor.events) == 2)
        assert guest.conductor.events[1]['type'] == 'isolated.crashed'


def test_one_that_asks_and_never_reads_is_killed(bad, monkeypatch):
    monkeypatch.setattr(process, 'UNREAD_MAX', 2**20)
    host = testing.Host({'exec.run': lambda: 'x' * 2**18})
    with (
        testing.started(bad('asks'), name='isolated', host=host) as made,
        pytest.raises(errors.ExtensionDied, match='does not read what it is sent'),
    ):
        testing.call(made, 'run')


def test_odd_questions_and_errors_are_answered(bad):
    host = testing.Host()
    with (
        testing.started(bad('asks_oddly'), name='isolated', host=host) as made,
        pytest.raises(Exception, match='odd') as caught,
    ):
        testing.call(made, 'run')
    assert type(caught.value).__name__ == 'ExceptionGroup'
    assert host.events == []


def test_what_it_forks_ends_with_it(bad):
    with testing.started(bad('forks'), name='isolated') as made:
        pids = testing.call(made, 'run')
        assert all(map(bed.alive, pids))
    bed.wait(lambda: not any(map(bed.alive, pids)), 'the end of what was forked')


def test_one_that_leaves_the_session_holds_nobody_up(bad):
    host = testing.Host()
    with testing.started(bad('escapes'), name='isolated', host=host) as made:
        pid = testing.call(made, 'run')
        try:
            bed.wait(lambda: host.events, 'the end of its process')
            bed.wait(lambda: retried(made), 'the next process')
        finally:
            os.kill(pid, signal.SIGKILL)


def retried(made):
    try:
        os.kill(testing.call(made, 'run'), signal.SIGKILL)
    except errors.Transient:
        return False
    return True


def test_a_signal_without_a_name_is_an_end(bad):
    with (
        testing.started(bad('dies'), name='isolated') as made,
        pytest.raises(errors.ExtensionDied, match=r'killed by signal \d+'),
    ):
        testing.call(made, 'run')


def test_one_that_ends_at_each_start_is_started_less_and_less_often(bad):
    host = testing.Host()
    with testing.started(bad('exits_later'), name='isolated', host=host) as made:
        for failures in range(1, 4):
            with pytest.raises(errors.ExtensionDied, match='ended with exit code 0'):
                testing.call(made, 'run')
            keeper = made._keeper
            delay = keeper._not_before - time.monotonic()
            assert delay <= 0.3 * 2 ** (failures - 1)
            assert host.events[-1][1]['failures'] == failures
            keeper._not_before = time.monotonic() + 1000
            with pytest.raises(errors.Transient, match='is started again in'):
                testing.call(made, 'run')
            keeper._not_before = 0.0
        assert 'ended with exit code 0' in made.health()


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda path: path.write_text('#!/bin/sh\n'), 'code 126.*Permission denied'),
        (lambda path: path.mkdir(), 'code 126'),
        (lambda path: script(path, '#!/nowhere/interpreter\n'), 'code 12[67]'),
        (lambda path: path.symlink_to(path), 'code 12[67]'),
    ],
)
def test_what_cannot_be_executed_is_said(tmp_path, make, said):
    path = tmp_path / 'weather'
    make(path)
    conf = bed.configuration('weather', command=str(path))
    with pytest.raises(errors.ExtensionDied, match=said):
        loading.load('weather', conf, loading.program('weather', conf, None))


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ('period', 'said'),
    [('often', "'often' is not a number"), ('-1', "'-1' is not a number")],
)
def test_a_period_must_be_a_number(period, said):
    command = f'{sys.executable} {bed.HERE / "bad.py"} bad_period'
    conf = bed.configuration('isolated', command=command)
    conf.register_opt(cfg.StrOpt('period', default=None, help=''), group='isolated')
    conf.set_override('period', period, group='isolated')
    with pytest.raises(errors.ConfigError, match=rf'\[isolated\] period: {said}'):
        loading.load('isolated', conf, loading.program('isolated', conf, None))


def test_what_is_not_understood_is_passed_over(bad):
    with testing.started(bad('unknown_ids'), name='isolated') as made:
        assert testing.call(made, 'run') == 'mine'
