# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own: what works as it does in the agent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from guestagent import errors, extension, testing
from guestagent.agent import registry
from guestagent.agent.isolation import keeper, session, spawn
from guestagent.testing import agent
from tests.unit.agent import isolation_bed as bed


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
        assert other.info.urgent == command.info.urgent
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
        assert (seen['caller'], seen['owner']) == ('', 'plain:')
        me = extension.Context('me', proven=True)
        assert testing.call(made, 'seen', kind='a', context=me)['owner'] == 'me'
        assert seen['pid'] != os.getpid()
        assert seen['environment']['GUESTAGENT_EXTENSION'] == 'isolated'
        assert 'kombu' not in seen['modules']
        assert 'guestagent.agent.registry' not in seen['modules']
        with pytest.raises(TypeError, match="argument 'numbers' must be"):
            testing.call(made, 'seen', kind='a', numbers=['x'])


def test_a_process_is_there_while_it_is_used(load, tmp_path):
    marks = tmp_path / 'marks'
    kind = load(isolate_idle=1)
    with testing.started(kind, name='isolated', options={'marks': str(marks)}) as made:
        assert not marks.exists()
        first = testing.call(made, 'seen', kind='a')['pid']
        assert testing.call(made, 'seen', kind='a')['pid'] == first
        bed.wait(lambda: not bed.alive(first), 'the end of the idle process')
        assert marks.read_text().split() == ['start', 'stop']
        assert made.health() == 'ok'

        second = testing.call(made, 'seen', kind='a')['pid']

        assert second != first
    bed.wait(lambda: not bed.alive(second), 'its end')
    assert marks.read_text().split() == ['start', 'stop'] * 2


def test_a_process_that_holds_something_stays(load):
    kind = load(kind='Holding', isolate_idle=0.1)
    with testing.started(kind, name='isolated', options={'colour': 'blue'}) as made:
        began = time.monotonic()
        pid, colour = testing.call(made, 'hold', seconds=1.5)
        bed.wait(lambda: not bed.alive(pid), 'the end of the idle process')
        assert time.monotonic() - began >= 1.5
        assert colour == 'blue'


def test_what_it_will_freeze_is_kept_off_in_its_own_name(load, guestagent_host):
    with testing.started(load(), name='isolated', host=guestagent_host) as made:
        testing.call(made, 'freeze', devices=['7:0', '7:1'])
        assert guestagent_host.holds == {'isolated': ['7:0', '7:1']}
        testing.call(made, 'freeze', devices=[])
        assert guestagent_host.holds == {}


def test_one_that_starts_while_the_disk_is_frozen_compiles_nothing(monkeypatch):
    argv = spawn.python('guestagent.agent.isolation.child', 'x', 'y:Z')
    monkeypatch.setattr(sys, 'dont_write_bytecode', False)
    assert 'PYTHONDONTWRITEBYTECODE' not in spawn.environment('x', argv)
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)
    assert spawn.environment('x', argv)['PYTHONDONTWRITEBYTECODE'] == '1'


def test_one_that_must_start_is_roused(load, tmp_path):
    marks = tmp_path / 'marks'
    with testing.started(
        load(), name='isolated', options={'marks': str(marks)}
    ) as made:
        assert not marks.exists()
        made.rouse()
        bed.wait(lambda: made.isolated_process() is not None, 'its start')
        bed.wait(marks.exists, 'its mark')


def test_one_that_dies_while_it_holds_something_starts_again(load):
    kind = load(kind='Holding', isolate_idle=60)
    with testing.started(kind, name='isolated') as made:
        pid, _ = testing.call(made, 'hold', seconds=60)
        os.kill(pid, signal.SIGKILL)
        bed.wait(lambda: (made.isolated_process() or {'pid': pid})['pid'] != pid)


def test_one_that_is_never_idle_starts_with_the_agent_and_again(load, tmp_path):
    marks = tmp_path / 'marks'
    kind = load(isolate_idle=0)
    with testing.started(kind, name='isolated', options={'marks': str(marks)}) as made:
        bed.wait(marks.exists, 'the start')
        pid = testing.call(made, 'seen', kind='a')['pid']
        os.kill(pid, 9)
        bed.wait(lambda: marks.read_text().split() == ['start'] * 2, 'the second start')


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
        bed.wait(lambda: made.health() == 'a fan is loud', 'the health')
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
def test_a_call_in_flight_is_told_of_the_end(
    load, guestagent_host, monkeypatch, how, reason
):
    kind = load()
    monkeypatch.setattr(keeper, 'DELAY', 1000)
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
        made._keeper._not_before = 0.0
        assert testing.call(made, 'echo', value=True)
        assert made.health() == 'ok'
        with pytest.raises(errors.ExtensionDied):
            testing.call(made, 'die', how=how)
        assert guestagent_host.events[-1][1]['failures'] == 2


def test_time_limit_and_cancel_reach_the_process(load, tmp_path):
    marks = tmp_path / 'marks'
    with agent.Agent(
        {'isolated': load()}, options={'isolated': {'marks': str(marks)}}
    ) as guest:
        # Its time begins before a process has started, and may be over by then.
        guest.call('isolated.echo')
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
        # Its time begins before a process has started, and may be over by then.
        guest.call('isolated.echo')
        with pytest.raises(errors.CommandTimeout):
            guest.call('isolated.hang')
        guest.wait(lambda: guest.conductor.events)
        [event] = guest.conductor.events
        assert event['type'] == 'isolated.crashed'
        assert 'cancelled did not end' in event['data']['reason']


def test_progress_is_known_in_the_agent(load):
    with agent.Agent({'isolated': load()}) as guest:
        call = guest.send('isolated.advance', caller='me', command_id='id-1')
        about = {'command_id': 'id-1', 'caller': 'me'}
        guest.wait(lambda: guest.call('agent.status', about)['percent'] == 40)
        [listed] = guest.call('agent.list')
        assert listed['text'] == 'disk 2 of 5'
        assert not call.answered
        guest.call('agent.cancel', {'command_id': 'id-1'})


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


def test_short_calls_are_answered_while_long_ones_run(load):
    with testing.started(load(), name='isolated') as made:
        threads = [threading.Thread(target=waits_long, args=(made,)) for _ in '123']
        for thread in threads:
            thread.start()
        for number in range(100):
            assert testing.call(made, 'echo', value=number) == number
        bed.wait(lambda: len(made._keeper._session._waiting) == 3, 'all of them run')
        assert all(thread.is_alive() for thread in threads)
        assert testing.call(made, 'echo', value='last') == 'last'
        made._keeper._session.kill('the test is over')
        for thread in threads:
            thread.join(60)


def waits_long(made):
    with pytest.raises(errors.ExtensionDied, match='the test is over'):
        testing.call(made, 'wait', seconds=600, context=extension.Context())


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
        assert bed.alive(forked)
    bed.wait(lambda: not bed.alive(forked), 'the end of what was forked')


def test_an_option_that_makes_no_sense_is_said(load):
    kind = load()
    with (
        testing.started(kind, name='isolated', options={'period': '-1'}) as made,
        pytest.raises(errors.ConfigError, match=r'\[isolated\] period'),
    ):
        testing.call(made, 'echo')


def test_a_start_that_fails_is_the_callers_answer(load, monkeypatch):
    kind = load()
    monkeypatch.setattr(keeper, 'DELAY', 1000)
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
        bed.wait(lambda: made._keeper._starting is not None, 'the start')
        begun = time.monotonic()
    asking.join()
    assert time.monotonic() - begun < session.START_SECONDS / 2


def asks_in_vain(made):
    with pytest.raises(errors.ExtensionDied, match='the agent is stopping'):
        testing.call(made, 'run')


def test_a_health_that_changes_by_itself_is_told(load):
    kind = load(kind='Moody')
    with testing.started(kind, name='isolated') as made:
        testing.call(made, 'wake')
        bed.wait(lambda: made.health() == 'the moon is full', 'its health')


def test_a_health_that_fails_costs_no_call(load):
    kind = load(kind='Moody')
    with testing.started(kind, name='isolated') as made:
        testing.call(made, 'wake', well=None)
        bed.wait(lambda: 'health() failed' in made.health(), 'its health')
        assert [testing.call(made, 'wake', well=None) for _ in range(20)] == [None] * 20


def test_what_was_cancelled_while_it_waited_for_the_start_does_not_run(load, tmp_path):
    marks = tmp_path / 'marks'
    context = extension.Context()
    context.cancel(errors.Cancelled('nobody waits'))
    with testing.started(
        load(), name='isolated', options={'marks': str(marks)}
    ) as made:
        with pytest.raises(errors.Cancelled):
            testing.call(made, 'hang', context=context)
        assert marks.read_text().split() == ['start']


#: As the launcher of the Debian packages has it: -IS, and paths that it adds itself.
PACKAGED = """
import sys
sys.path += {paths}
from guestagent import testing
from tests.unit.agent import isolation_bed as bed
from guestagent.agent.isolation import loading
conf = bed.configuration('isolated')
argv = loading.program('isolated', conf, 'guestagent_isolated:Isolated')
with testing.started(loading.load('isolated', conf, argv), name='isolated') as made:
    seen = testing.call(made, 'seen', kind='a')
    assert list(dict.fromkeys(seen['path'])) == list(dict.fromkeys(sys.path))
    assert 'site' not in seen['modules']
    assert 'PYTHONPATH' not in seen['environment']
"""


def test_a_packaged_agents_children_find_what_it_finds(tmp_path):
    paths = [str(bed.HERE), *filter(None, sys.path), str(bed.HERE.parents[3])]
    done = subprocess.run(
        [sys.executable, '-IS', '-c', PACKAGED.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
