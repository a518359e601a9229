# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own, with real processes, good and bad ones."""

import os
import pathlib
import sys
import threading
import time

import pytest
from oslo_config import cfg

from guestagent import errors, testing
from guestagent.agent import registry
from guestagent.agent.isolation import keeper, loading, process, session
from guestagent.conf import isolation
from guestagent.testing import agent

HERE = pathlib.Path(__file__).parent / 'isolated'
SECONDS = 30


def wait(condition, what='it'):
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, f'{what} did not come about'
        time.sleep(0.01)


def alive(pid):
    try:
        os.kill(pid, 0)
        return 'Z' not in pathlib.Path(f'/proc/{pid}/stat').read_text().split()[2]
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(keeper, 'DELAY', 0.3)


def configuration(name, **options):
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    isolation.register(conf, name, installed=False)
    for option, value in options.items():
        conf.set_override(option, value, group=name)
    return conf


@pytest.fixture
def load(tmp_path):
    """``load(**options)`` returns (the class that stands in, its options)."""

    def make(kind='Isolated', **options):
        conf = configuration('isolated', **options)
        argv = loading.program('isolated', conf, f'guestagent_isolated:{kind}')
        return loading.load('isolated', conf, argv)

    return make


@pytest.fixture
def bad():
    """``bad(how)`` returns the class that stands in for a bad program."""

    def make(how, **options):
        command = f'{sys.executable} {HERE / "bad.py"} {how}'
        conf = configuration('isolated', command=command, **options)
        return loading.load('isolated', conf, loading.program('isolated', conf, None))

    return make


def instance_of(kind):
    with testing.started(kind, name='isolated', options={'marks': '/dev/null'}) as made:
        return made


def test_the_stand_in_says_what_the_class_would(load):
    import guestagent_isolated

    there = registry.Loaded('isolated', instance_of(load()))
    here = registry.Loaded('isolated', instance_of(guestagent_isolated.Isolated))
    assert there.version == here.version == '1.3'
    assert set(there.commands) == set(here.commands)
    for name, command in here.commands.items():
        other = there.commands[name]
        assert other.signature.returns == command.signature.returns
        assert list(other.signature.arguments) == list(command.signature.arguments)
        for key, argument in command.signature.arguments.items():
            described = other.signature.arguments[key]
            assert (described.type, described.required, described.default) == (
                argument.type,
                argument.required,
                argument.default,
            )
        assert other.info.mutates == command.info.mutates
        assert other.info.timeout == command.info.timeout
        assert other.info.sensitive == command.info.sensitive
        assert other.function.__doc__ == command.function.__doc__
    [(_, here_info)], [(_, there_info)] = here.periodics, there.periodics
    assert there_info.option == here_info.option == 'period'


def test_a_command_sees_what_it_would_in_process(load):
    kind = load()
    with testing.started(
        kind, name='isolated', options={'colours': 'blue, red', 'place': ['a', 'b']}
    ) as made:
        seen = testing.call(made, 'seen', kind='a', numbers=[1], table={'x': 1})
        assert (seen['kind'], seen['numbers']) == ('a', [1])
        assert seen['colours'] == ['blue', 'red']
        assert seen['place'] == ['a', 'b']
        assert 6 < seen['remaining'] <= 7
        assert seen['pid'] != os.getpid()
        assert seen['environment']['GUESTAGENT_EXTENSION'] == 'isolated'
        assert 'kombu' not in seen['modules']
        assert 'guestagent.agent.registry' not in seen['modules']
        with pytest.raises(TypeError, match="argument 'numbers' must be"):
            testing.call(made, 'seen', kind='a', numbers=['x'])


def test_a_process_is_there_while_it_is_used(load, tmp_path):
    marks = tmp_path / 'marks'
    kind = load(isolate_idle=0.3)
    with testing.started(kind, name='isolated', options={'marks': str(marks)}) as made:
        assert not marks.exists()
        first = testing.call(made, 'seen', kind='a')['pid']
        assert testing.call(made, 'seen', kind='a')['pid'] == first
        wait(lambda: not alive(first), 'the end of the idle process')
        assert marks.read_text().split() == ['start', 'stop']
        assert made.health() == 'ok'

        second = testing.call(made, 'seen', kind='a')['pid']

        assert second != first
    assert not alive(second)
    assert marks.read_text().split() == ['start', 'stop'] * 2


def test_one_that_is_never_idle_starts_with_the_agent_and_again(load, tmp_path):
    marks = tmp_path / 'marks'
    kind = load(isolate_idle=0)
    with testing.started(kind, name='isolated', options={'marks': str(marks)}) as made:
        wait(marks.exists, 'the start')
        pid = testing.call(made, 'seen', kind='a')['pid']
        os.kill(pid, 9)
        wait(lambda: marks.read_text().split() == ['start'] * 2, 'the second start')


def test_errors_are_the_extensions(load):
    with testing.started(load(), name='isolated') as made:
        with pytest.raises(errors.InvalidArgument, match='makes no sense'):
            testing.call(made, 'fail', kind='ours')
        with pytest.raises(LookupError, match='nothing there'):
            testing.call(made, 'fail', kind='builtin')
        with pytest.raises(Exception, match='odd') as caught:
            testing.call(made, 'fail', kind='odd')
        assert type(caught.value).__name__ == 'Odd'
        with pytest.raises(errors.BadResult, match='cannot be sent as JSON'):
            testing.call(made, 'unsendable')
        with pytest.raises(errors.ResultTooLarge):
            testing.call(made, 'large', size=2**24 + 2**17)
        assert len(testing.call(made, 'large', size=2**20)) == 2**20
        text = 'y' * 2**20
        assert testing.call(made, 'echo', value=text) == text


def test_reports_health_and_questions_pass(load, guestagent_host):
    guestagent_host.answers['exec.run'] = lambda: {'exit_code': 0}
    kind = load()
    with testing.started(kind, name='isolated', host=guestagent_host) as made:
        testing.call(made, 'tell', well='a fan is loud')
        assert guestagent_host.facts == {'isolated.colour': 'red'}
        assert guestagent_host.events == [('isolated.told', {'id': ''})]
        wait(lambda: made.health() == 'a fan is loud', 'the health')
        assert testing.call(made, 'ask', other='exec', method='run') == {'exit_code': 0}
        with pytest.raises(errors.ExtensionUnavailable):
            testing.call(made, 'ask', other='nobody', method='run')
        made.tick()
        made.tick()
        assert guestagent_host.facts['isolated.ticks'] == 2


@pytest.mark.parametrize(
    ('how', 'reason'),
    [('signal', 'killed by SIGSEGV'), ('exit', 'ended with exit code 3')],
)
def test_a_call_in_flight_is_told_of_the_end(load, guestagent_host, how, reason):
    kind = load()
    with testing.started(kind, name='isolated', host=guestagent_host) as made:
        with pytest.raises(errors.ExtensionDied, match=f'{reason}; .*the last words'):
            testing.call(made, 'die', how=how)
        [(name, data)] = guestagent_host.events
        assert name == 'isolated.crashed'
        assert reason in data['reason']
        assert data['stderr'][-1] == 'the last words'
        assert 'the last words' in made.health()

        with pytest.raises(errors.Transient, match='is started again in'):
            testing.call(made, 'echo')
        wait(lambda: echoes(made), 'the next start')
        assert made.health() == 'ok'
        with pytest.raises(errors.ExtensionDied):
            testing.call(made, 'die', how=how)
        assert guestagent_host.events[-1][1]['failures'] == 2


def echoes(made):
    try:
        return testing.call(made, 'echo', value=True)
    except errors.Transient:
        return False


def test_time_limit_and_cancel_reach_the_process(load, tmp_path):
    marks = tmp_path / 'marks'
    with agent.Agent(
        {'isolated': load()}, options={'isolated': {'marks': str(marks)}}
    ) as guest:
        with pytest.raises(errors.CommandTimeout):
            guest.call('isolated.wait', {'seconds': 600})
        guest.wait(lambda: 'cancelled' in marks.read_text())
        assert guest.call('isolated.wait', {'seconds': 0}) == 'waited'

        waiting = guest.send(
            'isolated.wait', {'seconds': 600}, caller='c', command_id='1'
        )
        guest.wait(
            lambda: [
                item['state'] for item in guest.call('agent.list')
            ] == ['running']
        )  # fmt: skip
        assert guest.call('agent.cancel', {'command_id': '1'}) == {'cancelled': 1}
        guest.wait(lambda: waiting.answered)
        with pytest.raises(errors.Cancelled):
            waiting.result()


def test_one_that_ignores_the_cancel_is_killed(load, tmp_path, monkeypatch):
    monkeypatch.setattr(session, 'CANCEL_SECONDS', 0.1)
    marks = tmp_path / 'marks'
    with agent.Agent(
        {'isolated': load()}, options={'isolated': {'marks': str(marks)}}
    ) as guest:
        with pytest.raises(errors.CommandTimeout):
            guest.call('isolated.hang')
        guest.wait(lambda: guest.conductor.events)
        [event] = guest.conductor.events
        assert event['type'] == 'isolated.crashed'
        assert 'cancelled did not end' in event['data']['reason']


def test_periodic_methods_run_there(load):
    with agent.Agent(
        {'isolated': load()}, options={'isolated': {'period': '0.05'}}
    ) as guest:
        guest.wait(lambda: guest.conductor.facts.get('isolated.ticks', 0) >= 3)


def test_many_calls_at_once_each_get_their_own(load):
    with agent.Agent({'isolated': load()}) as guest:
        calls = [guest.send('isolated.echo', {'value': n}) for n in range(100)]
        guest.wait(lambda: all(call.answered for call in calls))
        assert [call.result() for call in calls] == list(range(100))


def test_limits_hold(load):
    kind = load(isolate_memory=200, isolate_files=64, isolate_cpu_time=50)
    with testing.started(kind, name='isolated') as made:
        assert testing.call(made, 'limits') == {
            'RLIMIT_DATA': [200 * 2**20] * 2,
            'RLIMIT_NOFILE': [64, 64],
            'RLIMIT_CPU': [50, 50],
            'RLIMIT_CORE': [0, 0],
        }
        with pytest.raises(MemoryError):
            testing.call(made, 'take', mib=300)
        assert testing.call(made, 'echo', value=1) == 1


def test_what_it_forked_ends_with_it(load):
    with testing.started(load(), name='isolated') as made:
        forked = testing.call(made, 'fork')
        assert alive(forked)
    wait(lambda: not alive(forked), 'the end of what was forked')


def test_an_option_that_makes_no_sense_is_said(load):
    kind = load()
    with (
        testing.started(kind, name='isolated', options={'period': '-1'}) as made,
        pytest.raises(errors.ConfigError, match=r'\[isolated\] period'),
    ):
        testing.call(made, 'echo')


def test_a_start_that_fails_is_the_callers_answer(load):
    kind = load()
    with testing.started(kind, name='isolated', options={'start': 'false'}) as made:
        with pytest.raises(errors.GuestError, match='no such device'):
            testing.call(made, 'echo')
        assert 'no such device' in made.health()
        with pytest.raises(errors.Transient, match='no such device'):
            testing.call(made, 'echo')


def test_a_start_that_hangs_does_not_hold_up_the_stop(bad):
    with testing.started(bad('hangs'), name='isolated') as made:
        asking = threading.Thread(target=asks_in_vain, args=(made,))
        asking.start()
        wait(lambda: made._keeper._starting is not None, 'the start')
        begun = time.monotonic()
    asking.join()
    assert time.monotonic() - begun < session.START_SECONDS / 2


def asks_in_vain(made):
    with pytest.raises(errors.ExtensionDied, match='the agent is stopping'):
        testing.call(made, 'run')


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
    conf = configuration('weather', command=command)
    with pytest.raises(errors.ConfigError, match=said):
        loading.program('weather', conf, None)


def test_a_program_that_is_not_there_is_named():
    conf = configuration('weather', command='/nowhere/weather')
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
    ],
)
def test_a_hello_that_is_none_ends_the_load(bad, monkeypatch, how, said):
    if how == 'silent':
        monkeypatch.setattr(session, 'HELLO_SECONDS', 0.3)
    with pytest.raises(errors.ExtensionDied, match=said):
        bad(how)


def test_one_that_floods_is_held_back_and_still_answers(bad, caplog):
    host = testing.Host()
    with testing.started(bad('floods'), name='isolated', host=host) as made:
        assert testing.call(made, 'run') == 'done'
    assert 0 < len(host.events) < 200_000
    assert 'is held back' in caplog.text


def test_what_it_says_to_standard_error_is_bounded(bad):
    with testing.started(bad('floods_stderr'), name='isolated') as made:
        assert testing.call(made, 'run') == 'done'


def test_one_that_ignores_sigterm_is_killed(bad, monkeypatch):
    monkeypatch.setattr(process, 'STOP_SECONDS', 0.1)
    monkeypatch.setattr(process, 'TERM_SECONDS', 0.1)
    with testing.started(bad('ignores_sigterm'), name='isolated') as made:
        pid = testing.call(made, 'run')
    assert not alive(pid)


def test_one_that_never_reads_costs_its_own_calls_only(bad, monkeypatch):
    monkeypatch.setattr(session, 'CANCEL_SECONDS', 0.1)
    kind = bad('never_reads')
    with agent.Agent({'isolated': kind}) as guest:
        sent = guest.send('isolated.run', {}, command_id='1')
        large = guest.send('isolated.run', {'x': 'y' * 2**20}, command_id='2')
        guest.wait(lambda: large.answered)  # refused: there is no such argument
        guest.wait(lambda: guest.call('agent.list')[0]['state'] == 'running')
        guest.call('agent.cancel', {'command_id': '1'})
        guest.wait(lambda: sent.answered and guest.conductor.events)


def test_what_is_not_understood_is_passed_over(bad):
    with testing.started(bad('unknown_ids'), name='isolated') as made:
        assert testing.call(made, 'run') == 'mine'
