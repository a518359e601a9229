# SPDX-License-Identifier: Apache-2.0
"""Programs that outlive the call that started them, with real processes."""

import base64
import concurrent.futures
import os
import pwd
import signal
import subprocess
import sys
import time

import pytest
from guestagent_exec import programs

from guestagent import errors, extension
from tests.unit.extensions.exec import bed


def test_the_idle_extension_loads_and_runs_nothing():
    code = (
        'import sys, threading\n'
        'from guestagent_exec import extension\n'
        'extension.Exec("exec", None, None).busy()\n'
        'heavy = {"oslo_config", "subprocess", "json", "base64", "select"}\n'
        'print(sorted(heavy & set(sys.modules)), threading.active_count())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout == '[] 1\n'


def test_what_is_said_of_a_program_from_start_to_end(guest):
    here = guest()
    before = time.time()
    started = here.spawn(
        shell='echo out; echo err >&2; read x; exit 7', keep_stdin=True
    )
    status = here.status(started['pid'])

    assert status['handle'] == started['handle']
    assert status['pid'] == started['pid']
    assert status['running']
    assert status['exit_code'] is None
    assert status['input_open']
    assert here.made.busy()
    here.write(started['handle'], 'go\n')
    status = here.end(started['handle'])
    assert before - 1 < status.pop('started') < time.time() + 1
    assert 0 < status.pop('seconds') < 60
    assert status == {
        **started,
        'running': False,
        'exit_code': 7,
        'signal': None,
        'signal_name': None,
        'timed_out': False,
        'detached': False,
        'error': None,
        'input_open': False,
        'stdout_bytes': 4,
        'stderr_bytes': 4,
        'stdout_truncated': False,
        'stderr_truncated': False,
        'pty': False,
        'user': pwd.getpwuid(os.geteuid()).pw_name,
        'command': "/bin/sh -c -- 'echo out; echo err >&2; read x; exit 7'",
        'caller': 'me',
    }
    assert here.list() == [here.status(started['handle'])]
    polled = here.poll(started['handle'])
    assert polled['status']['exit_code'] == 7
    assert polled['stdout'] == {
        'data': 'b3V0Cg==',
        'offset': 0,
        'next': 4,
        'total': 4,
        'eof': True,
        'lost': 0,
    }
    assert base64.b64decode(polled['stderr']['data']) == b'err\n'
    assert here.made.busy()
    assert here.forget(started['handle']) == {'forgotten': True}
    assert not here.made.busy()
    assert here.forget(started['handle']) == {'forgotten': False}
    assert here.list() == []
    bed.wait_for(lambda: not bed.engine_threads())


def test_a_signal_reaches_the_whole_session(guest):
    here = guest()
    handle = here.spawn(
        shell=f'set -m; sleep {bed.LONG} & echo $!; sleep {bed.LONG} & echo $!; wait'
    )['handle']
    bed.wait_for(lambda: here.text(handle).count(b'\n') == 2)
    children = [int(line) for line in here.text(handle).split()]

    assert here.signal(handle, 'term')['handle'] == handle
    status = here.end(handle)

    assert status['signal_name'] == 'SIGTERM'
    assert not status['timed_out']
    bed.wait_gone(*children)
    with pytest.raises(errors.GuestError, match=r'has ended: No such process$'):
        here.signal(handle, 15)


def test_who_ignores_sigterm_is_killed_when_its_time_is_over(guest):
    here = guest()
    handle = here.spawn(
        shell=f'trap "" TERM; sleep {bed.LONG} & echo $!; wait; sleep {bed.LONG}',
        timeout=1.5,
    )['handle']
    status = here.end(handle)
    assert (status['timed_out'], status['signal_name']) == (True, 'SIGKILL')
    bed.wait_gone(int(here.text(handle)))


def test_a_hundred_at_once(guest):
    here = guest()
    before = len(os.listdir('/proc/self/fd'))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        started = list(
            pool.map(
                lambda n: here.spawn(
                    shell=f'read x; echo {n}; exit {n}', keep_stdin=True
                ),
                range(100),
            )
        )
        assert len(bed.engine_threads()) == 1
        assert len(here.list()) == 100
        for one in started:
            here.write(one['handle'], '\n')
        codes = [here.end(one['handle'])['exit_code'] for one in started]

    assert codes == list(range(100))
    assert [here.text(one['pid']) for one in started] == [
        b'%d\n' % number for number in range(100)
    ]
    for one in started:
        here.forget(one['handle'])
    bed.wait_for(lambda: not bed.engine_threads())
    bed.wait_for(lambda: len(os.listdir('/proc/self/fd')) <= before)


def test_as_many_run_and_are_kept_as_may(guest):
    here = guest(max_running=2, max_retained=2)
    running = [here.spawn(argv=['sleep', str(bed.LONG)])['handle'] for _ in range(2)]
    with pytest.raises(errors.GuestError, match=r'max_running\): Resource temporarily'):
        here.spawn(argv=['true'])
    for handle in running:
        here.signal(handle, 9)
        here.end(handle)
    third = here.spawn(argv=['true'])['handle']
    here.end(third)
    here.spawn(argv=['true'])

    known = {one['handle'] for one in here.list()}
    assert running[0] not in known
    assert {running[1], third} < known


def test_what_has_ended_is_forgotten_in_time(guest):
    here = guest(retain=0.3)
    kept = here.spawn(argv=['echo', 'x'], retain=bed.LONG)['handle']
    here.end(kept)
    first = here.spawn(argv=['echo', 'x'])['handle']

    bed.wait_for(lambda: [one['handle'] for one in here.list()] == [kept])

    with pytest.raises(errors.NoSuchRecord, match='was forgotten'):
        here.status(first)
    assert here.text(kept) == b'x\n'


def test_what_runs_is_not_forgotten(guest):
    here = guest()
    handle = here.spawn(argv=['sleep', str(bed.LONG)])['handle']
    with pytest.raises(
        errors.GuestError, match=r'still runs.*: Device or resource busy'
    ):
        here.forget(handle)


def test_stop_ends_all(guest):
    here = guest(kill_grace=60)
    started = [
        here.spawn(shell=f'trap "" TERM; echo x; sleep {bed.LONG}; sleep {bed.LONG}')
        for _ in range(5)
    ]
    for one in started:
        here.until(one['handle'], b'x')

    here.made.stop()

    bed.wait_gone(*(one['pid'] for one in started))
    bed.wait_for(lambda: not bed.engine_threads())


def test_who_is_stopped_with_the_agent_may_say_goodbye(guest, tmp_path):
    here = guest()
    handle = here.spawn(
        shell=f'trap "echo bye >{tmp_path}/bye; exit" TERM; echo x; sleep 600 & wait'
    )['handle']
    here.until(handle, b'x')

    here.made.stop()

    assert (tmp_path / 'bye').read_text() == 'bye\n'


def test_those_who_wait_do_not_take_all_workers(guest):
    here = guest(max_waiting=2)
    handle = here.spawn(argv=['sleep', str(bed.LONG)])['handle']
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(here.wait, handle, timeout=30) for _ in range(2)]
        bed.wait_for(lambda: here.made._made._waits._waiting == 2)
        began = time.monotonic()
        assert here.wait(handle, timeout=30)['running']
        assert here.read(handle, wait=30)['data'] == ''
        assert time.monotonic() - began < 20
        here.signal(handle, 'KILL')
        assert [one.result(60)['signal'] for one in waiting] == [9, 9]


def test_the_longest_time_that_an_operator_can_allow(guest):
    here = guest(timeout_max=30 * 86400.0)
    handle = here.spawn(argv=['cat'], keep_stdin=True)['handle']
    here.write(handle, 'x', close=True)
    assert here.end(handle)['stdout_bytes'] == 1


def test_who_waits_hears_of_his_cancellation(guest):
    here = guest()
    handle = here.spawn(argv=['sleep', str(bed.LONG)])['handle']
    context = extension.Context('me')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(here.made.wait, context, handle, 60)
        bed.wait_for(lambda: here.made._made._waits._waiting == 1)
        context.cancel(errors.Cancelled('not wanted'))
        with pytest.raises(errors.Cancelled):
            waiting.result(60)
    assert here.status(handle)['running']


def test_an_interrupted_command_is_told(guest, caplog):
    guest().made.interrupted('run', 'id-1')
    assert 'exec.run (command id-1) was cut short' in caplog.text


def test_signals_are_known_by_many_names():
    for given in ('int', 'SIGINT', 'Int', '2', 2):
        assert programs.signal_number(given) == signal.SIGINT
