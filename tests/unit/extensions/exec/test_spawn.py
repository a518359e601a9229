# SPDX-License-Identifier: Apache-2.0
"""Programs that outlive the call that started them, with real processes."""

import base64
import concurrent.futures
import contextlib
import os
import pathlib
import pwd
import signal
import subprocess
import sys
import threading
import time

import pytest
from guestagent_exec import extension as exec_extension
from guestagent_exec import output

from guestagent import errors, extension

#: Longer than any test may take: what sleeps so long must have been killed.
LONG = 600

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason='only root can run programs as others'
)


class Guest:
    """``guest.spawn(...)`` and so on: the commands, without their context."""

    def __init__(self, made):
        self.made = made

    def __getattr__(self, name):
        method = getattr(self.made, name)
        return lambda *args, **kwargs: method(extension.Context('me'), *args, **kwargs)

    def end(self, handle, seconds=30):
        """Return the status of a program once it has ended."""
        until = time.monotonic() + seconds
        while (status := self.wait(handle, timeout=10))['running']:
            assert time.monotonic() < until, status
        return status

    def text(self, handle, stream='stdout', **options):
        return base64.b64decode(self.read(handle, stream, **options)['data'])

    def until(self, handle, expected, seconds=30):
        """Read along until this has come; return all."""
        data, until = b'', time.monotonic() + seconds
        while expected not in data:
            assert time.monotonic() < until, data
            data += self.text(handle, offset=len(data), wait=5)
        return data


@pytest.fixture
def guest(make):
    """``guest(option=value)``: an extension that is stopped after the test."""
    with contextlib.ExitStack() as stack:

        def started(**options):
            made = make(exec_extension.Exec, 'exec', **{'kill_grace': 0.2, **options})
            stack.callback(made.stop)
            return Guest(made)

        yield started


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not come about'
        time.sleep(0.01)


def engine_threads():
    return [one for one in threading.enumerate() if one.name == 'exec']


def runs_still(process):
    try:
        stat = pathlib.Path(f'/proc/{process}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'


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
    # Nobody has read what it wrote.
    assert here.made.busy()
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
    assert not here.made.busy()
    assert here.forget(started['handle']) == {'forgotten': True}
    assert here.forget(started['handle']) == {'forgotten': False}
    assert here.list() == []
    wait_for(lambda: not engine_threads())


def test_output_comes_while_it_runs(guest):
    here = guest()
    handle = here.spawn(
        shell='echo one; read x; echo two $x >&2; read y; echo three', keep_stdin=True
    )['handle']

    assert here.until(handle, b'one\n') == b'one\n'
    here.write(handle, 'a\n')
    part = here.poll(handle, {'stdout': 4}, wait=30)
    assert base64.b64decode(part['stderr']['data']) == b'two a\n'
    assert (part['stdout']['data'], part['stdout']['eof']) == ('', False)
    here.write(handle, 'b\n', close=True)
    assert here.end(handle)['exit_code'] == 0
    last = here.read(handle, offset=4, wait=30)
    assert (base64.b64decode(last['data']), last['eof']) == (b'three\n', True)


def test_a_reader_loses_nothing_however_much_there_is(guest):
    here = guest(kept_limit_max=100_000)
    size = 5_000_000
    handle = here.spawn(
        shell=f'seq 1 {size} | head -c {size}', output_limit=100_000, timeout=60
    )['handle']
    seen, part = bytearray(), {'eof': False, 'next': 0}
    while not part['eof']:
        part = here.read(handle, offset=part['next'], wait=10, count=70_000)
        assert part['lost'] == 0
        # The window, and at the end a pipe.
        assert part['total'] - part['offset'] <= 100_000 + (256 + 1024) * 1024
        seen += base64.b64decode(part['data'])

    whole = subprocess.run(
        f'seq 1 {size} | head -c {size}', shell=True, stdout=subprocess.PIPE
    ).stdout
    assert bytes(seen) == whole
    # The first bytes and the last are kept for whoever comes later.
    assert here.text(handle, count=4 * 2**20)[:100_000] == whole[:100_000]
    later = here.read(handle, offset=100_000, count=4 * 2**20)
    assert 0 < later['lost'] <= size - 100_000 - 256 * 1024
    assert base64.b64decode(later['data']) == whole[100_000 + later['lost'] :]
    assert here.status(handle)['stdout_truncated']


def test_a_program_that_nobody_reads_does_not_wait(guest):
    here = guest()
    handle = here.spawn(
        shell='head -c 5000000 /dev/zero; head -c 3000000 /dev/zero >&2',
        output_limit=1000,
    )['handle']

    status = here.end(handle)

    assert (status['exit_code'], status['stdout_bytes']) == (0, 5_000_000)
    assert len(here.text(handle, count=1000)) == 1000


def test_a_reader_that_does_not_come_back_is_not_waited_for(guest, monkeypatch):
    monkeypatch.setattr(output, 'READER_SECONDS', 1.0)
    here = guest()
    handle = here.spawn(argv=['head', '-c', '5000000', '/dev/zero'], output_limit=10)[
        'handle'
    ]
    here.read(handle, wait=10, count=1)

    assert here.end(handle)['stdout_bytes'] == 5_000_000


def test_who_reads_slowly_has_all_that_a_program_wrote_before_it_ended(guest):
    here = guest()
    handle = here.spawn(shell='head -c 300000 /dev/zero; echo end', output_limit=10)[
        'handle'
    ]
    here.read(handle, wait=10, count=1)

    # It need not wait for the reader.
    assert here.end(handle)['stdout_bytes'] == 300_004
    last = here.read(handle, offset=1, count=2**20)
    assert last['lost'] == 0
    assert base64.b64decode(last['data']).endswith(b'\0end\n')


def test_the_slowest_of_two_readers_counts(guest):
    here = guest()
    handle = here.spawn(argv=['yes'], output_limit=10)['handle']

    def go_on(reader, offset, until):
        while offset < until:
            part = here.read(handle, offset=offset, wait=30, reader=reader, count=2**16)
            assert part['lost'] == 0
            offset = part['next']
        return offset

    slow = go_on('slow', 0, 1)
    fast = go_on('fast', 0, slow + 100_000)
    slow = go_on('slow', slow, fast + 100_000)
    go_on('fast', fast, slow)


def test_what_all_keep_together_is_bounded(guest):
    here = guest(kept_total=1000)
    first = here.spawn(argv=['head', '-c', '600', '/dev/zero'])['handle']
    here.end(first)
    second = here.spawn(argv=['head', '-c', '600000', '/dev/zero'])['handle']
    assert here.end(second)['stdout_truncated']
    assert here.read(second, offset=0)['lost'] == 0
    assert 0 < here.read(second, offset=400)['lost'] <= 600_000 - 256 * 1024 - 400
    here.forget(first)
    here.forget(second)
    third = here.spawn(argv=['head', '-c', '1000', '/dev/zero'])['handle']
    assert not here.end(third)['stdout_truncated']


def test_input_in_parts_and_half_closed(guest):
    here = guest()
    handle = here.spawn(argv=['sort'], stdin='c\n', keep_stdin=True)['handle']

    assert here.write(handle, 'b\n') == {'offset': 2, 'complete': True, 'open': True}
    # Sent again because the answer was lost.
    here.write(handle, 'b\n', offset=0)
    here.write(handle, 'b\na\n', offset=0)
    assert here.write(handle, close=True) == {
        'offset': 4,
        'complete': True,
        'open': False,
    }
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'a\nb\nc\n'
    assert here.write(handle, 'a\n', offset=2)['complete']
    with pytest.raises(errors.GuestError, match=r'or no more: Broken pipe$'):
        here.write(handle, 'more')


def test_input_is_bounded_where_nobody_reads_it(guest, tmp_path):
    here = guest()
    handle = here.spawn(
        shell=f'until [ -e {tmp_path}/go ]; do sleep 0.02; done; wc -c',
        keep_stdin=True,
        timeout=60,
    )['handle']
    data = 'x' * 1_500_000

    taken = here.write(handle, data, offset=0, wait=0.1)
    assert not taken['complete']
    assert 2**20 <= taken['offset'] < 1_500_000
    (tmp_path / 'go').touch()
    while not here.write(handle, data, offset=0, wait=10, close=True)['complete']:
        pass
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'1500000\n'


@pytest.mark.parametrize('program', ['exec 0<&-; echo closed; sleep 600', 'exit 0'])
def test_input_that_nobody_wants_is_an_error(guest, program):
    here = guest()
    handle = here.spawn(shell=program, keep_stdin=True)['handle']

    def write():
        for _ in range(100):
            here.write(handle, 'x' * 100_000, wait=0.2)

    with pytest.raises(errors.GuestError, match='Broken pipe'):
        write()


def test_in_a_terminal(guest):
    here = guest()
    code = (
        'import os, sys\n'
        'print([os.isatty(n) for n in range(3)], os.get_terminal_size(), '
        'os.tcgetpgrp(0) == os.getpgrp(), open("/dev/tty").isatty())\n'
        'print(input())\nprint("size", os.get_terminal_size())\n'
        'print(sys.stdin.read())\n'
    )
    started = here.spawn(
        argv=[sys.executable, '-c', code],
        pty={'rows': 30, 'cols': 100},
        keep_stdin=True,
        timeout=60,
    )
    handle = started['handle']

    said = here.until(handle, b'\r\n')
    assert b'[True, True, True]' in said
    assert b'columns=100, lines=30) True True' in said
    here.resize(handle, 50, 120)
    here.write(handle, 'hello\n')
    # The echo, and the answer.
    assert here.until(handle, b'lines=50)').count(b'hello') == 2
    here.write(handle, 'half a line', close=True)
    assert here.end(handle)['exit_code'] == 0
    with pytest.raises(errors.InvalidArgument, match='has no terminal'):
        here.resize(handle, 50, 120)


def test_a_terminal_passes_on_control_characters(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], pty=True, keep_stdin=True, timeout=60)['handle']
    here.write(handle, 'hi\n')
    here.until(handle, b'hi\r\nhi')

    here.write(handle, '\x03')

    assert here.end(handle)['signal_name'] == 'SIGINT'


def test_a_terminal_without_input_is_at_its_end(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], pty=True)['handle']
    assert here.end(handle)['exit_code'] == 0
    handle = here.spawn(argv=['cat'], pty=True, stdin='no newline')['handle']
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'no newlineno newline'


@ROOT_ONLY
def test_a_terminal_belongs_to_the_user(guest):
    here = guest()
    handle = here.spawn(
        shell='id -un; stat -c %U $(tty); echo x >$(tty)', pty=True, user='nobody'
    )['handle']
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle).split() == [b'nobody', b'nobody', b'x']


SCRIPT = '#!/bin/sh\necho "$#" "$1" "$2"\nid -un\nexit 3\n'


def test_a_script_is_run_and_leaves_nothing(guest, tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    here = guest()
    done = here.run(script=SCRIPT, argv=['a b', 'c'])

    assert done['exit_code'] == 3
    assert done['stdout'].startswith('2 a b c\n')
    assert list(tmp_path.iterdir()) == []
    assert 'script' not in str(os.listdir('/proc/self/fd'))


@ROOT_ONLY
def test_a_script_runs_as_another_user_who_alone_can_read_it(guest):
    done = guest().run(
        script='#!/bin/sh\nid -un; stat -Lc "%U %a" $0; echo x >$0', user='nobody'
    )
    assert done['stdout'] == 'nobody\nnobody 500\n'
    assert done['exit_code'] != 0


def test_a_binary_and_an_interpreter(guest):
    here = guest()
    data = base64.b64encode(pathlib.Path('/bin/echo').read_bytes()).decode()
    done = here.run(script=data, script_encoding='base64', argv=['from', 'memory'])
    assert done['stdout'] == 'from memory\n'
    done = here.run(
        script=f'#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\n', argv=['1']
    )
    assert done['stdout'] == "['1']\n"
    with pytest.raises(errors.InvalidArgument, match='needs #! in its first line'):
        here.run(script='echo no first line')


def test_a_signal_reaches_the_whole_session(guest):
    here = guest()
    handle = here.spawn(
        shell=f'set -m; sleep {LONG} & echo $!; sleep {LONG} & echo $!; wait'
    )['handle']
    wait_for(lambda: here.text(handle).count(b'\n') == 2)
    children = [int(line) for line in here.text(handle).split()]

    assert here.signal(handle, 'term')['handle'] == handle
    status = here.end(handle)

    assert status['signal_name'] == 'SIGTERM'
    assert not status['timed_out']
    assert not any(map(runs_still, children))
    with pytest.raises(errors.GuestError, match=r'has ended: No such process$'):
        here.signal(handle, 15)


def test_who_ignores_sigterm_is_killed_when_its_time_is_over(guest):
    here = guest()
    handle = here.spawn(
        shell=f'trap "" TERM; sleep {LONG} & echo $!; wait; sleep {LONG}', timeout=0.5
    )['handle']
    status = here.end(handle)
    assert (status['timed_out'], status['signal_name']) == (True, 'SIGKILL')
    assert not runs_still(int(here.text(handle)))


@pytest.mark.parametrize(
    ('limits', 'shell', 'ending'),
    [
        ({'cpu_seconds': 1}, 'while :; do :; done', 'SIGXCPU'),
        ({'file_size': 1000}, 'exec head -c 9999 /dev/zero >"$F"', 'SIGXFSZ'),
        ({'files': 4}, 'exec 3</dev/null 4</dev/null', 2),
        ({'memory': 500_000_000}, f'{sys.executable} -c "bytearray(10**9)"', 1),
    ],
)
def test_limits(guest, tmp_path, limits, shell, ending):
    done = guest().run(shell=shell, limits=limits, env={'F': str(tmp_path / 'file')})

    assert (done['signal_name'] or done['exit_code']) == ending


@ROOT_ONLY
def test_a_limit_of_processes(guest):
    done = guest().run(
        shell='(sleep 1) & (sleep 1) & (sleep 1) & wait',
        limits={'processes': 2},
        user='nobody',
    )
    assert done['exit_code'] != 0
    assert 'fork' in done['stderr']


@pytest.mark.parametrize(
    ('capture', 'stdout', 'stderr'),
    [
        ('separated', 'o\n', 'e\n'),
        ('merged', 'o\ne\n', ''),
        ('stdout', 'o\n', ''),
        ('stderr', '', 'e\n'),
        ('none', '', ''),
    ],
)
def test_what_is_captured(guest, capture, stdout, stderr):
    done = guest().run(shell='echo o; echo e >&2; exit 4', capture=capture)

    assert (done['stdout'], done['stderr'], done['exit_code']) == (stdout, stderr, 4)


def test_an_environment_that_is_given_whole(guest):
    done = guest().run(argv=['/usr/bin/env'], env={'A': 'b'}, clear_env=True)

    assert done['stdout'] == 'A=b\n'


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
        assert len(engine_threads()) == 1
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
    wait_for(lambda: not engine_threads())
    wait_for(lambda: len(os.listdir('/proc/self/fd')) <= before)


def test_as_many_run_and_are_kept_as_may(guest):
    here = guest(max_running=2, max_retained=2)
    running = [here.spawn(argv=['sleep', str(LONG)])['handle'] for _ in range(2)]
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
    first = here.spawn(argv=['echo', 'x'])['handle']
    kept = here.spawn(argv=['echo', 'x'], retain=LONG)['handle']
    here.end(first)
    here.end(kept)

    wait_for(lambda: [one['handle'] for one in here.list()] == [kept])

    with pytest.raises(errors.NoSuchRecord, match='was forgotten'):
        here.status(first)
    assert here.text(kept) == b'x\n'


def test_what_runs_is_not_forgotten(guest):
    here = guest()
    handle = here.spawn(argv=['sleep', str(LONG)])['handle']
    with pytest.raises(
        errors.GuestError, match=r'still runs.*: Device or resource busy'
    ):
        here.forget(handle)


def test_stop_ends_all(guest):
    here = guest(kill_grace=60)
    started = [
        here.spawn(shell=f'trap "" TERM; echo x; sleep {LONG}; sleep {LONG}')
        for _ in range(5)
    ]
    for one in started:
        here.until(one['handle'], b'x')

    here.made.stop()

    assert not any(runs_still(one['pid']) for one in started)
    wait_for(lambda: not engine_threads())


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
    handle = here.spawn(argv=['sleep', str(LONG)])['handle']
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(here.wait, handle, timeout=30) for _ in range(2)]
        wait_for(lambda: here.made._made._waits._waiting == 2)
        began = time.monotonic()
        assert here.wait(handle, timeout=30)['running']
        assert here.read(handle, wait=30)['data'] == ''
        assert time.monotonic() - began < 20
        here.signal(handle, 'KILL')
        assert [one.result(30)['signal'] for one in waiting] == [9, 9]


def test_the_longest_time_that_an_operator_can_allow(guest):
    here = guest(timeout_max=30 * 86400.0)
    handle = here.spawn(argv=['cat'], keep_stdin=True)['handle']
    here.write(handle, 'x', close=True)
    assert here.end(handle)['stdout_bytes'] == 1


@pytest.mark.parametrize('other', ['', 'other', 'me'])
def test_nobody_uses_the_program_of_another(guest, other):
    made = guest().made
    # One who merely claims the name is another, too.
    mine, theirs = extension.Context('me', proven=True), extension.Context(other)
    started = made.spawn(mine, argv=['cat'], keep_stdin=True)
    assert made.list(theirs) == []
    for handle in started['handle'], started['pid']:
        for call in (
            lambda handle=handle: made.read(theirs, handle),
            lambda handle=handle: made.poll(theirs, handle),
            lambda handle=handle: made.write(theirs, handle, 'x'),
            lambda handle=handle: made.status(theirs, handle),
            lambda handle=handle: made.wait(theirs, handle, 0),
            lambda handle=handle: made.signal(theirs, handle, 'KILL'),
            lambda handle=handle: made.resize(theirs, handle, 1, 1),
        ):
            with pytest.raises(errors.NoSuchRecord, match='there is no program'):
                call()
        assert made.forget(theirs, handle) == {'forgotten': False}

    made.write(mine, started['pid'], 'mine', close=True)
    assert made.wait(mine, started['handle'])['stdout_bytes'] == 4
    assert [one['pid'] for one in made.list(mine)] == [started['pid']]


def test_who_waits_hears_of_his_cancellation(guest):
    here = guest()
    handle = here.spawn(argv=['sleep', str(LONG)])['handle']
    context = extension.Context('me')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(here.made.wait, context, handle, 60)
        wait_for(lambda: here.made._made._waits._waiting == 1)
        context.cancel(errors.Cancelled('not wanted'))
        with pytest.raises(errors.Cancelled):
            waiting.result(30)
    assert here.status(handle)['running']


HOSTILE = [
    ('spawn', {'argv': ['true'], 'pty': {'rows': 0}}, 'rows: 0 is not from 1 to 65535'),
    (
        'spawn',
        {'argv': ['true'], 'pty': {'x': 1}},
        "pty: it has rows and cols, and no 'x'",
    ),
    (
        'spawn',
        {'argv': ['true'], 'pty': True, 'capture': 'none'},
        'capture: a terminal',
    ),
    ('spawn', {'argv': ['true'], 'retain': -1}, 'retain: -1 is not above 0'),
    ('spawn', {'argv': ['true'], 'retain': float('nan')}, 'retain: nan is not'),
    ('spawn', {'argv': ['true'], 'timeout': 1e9}, 'timeout: 1e+09 is not above'),
    ('spawn', {'argv': ['true'], 'output_limit': 2**40}, '[exec] kept_limit_max'),
    ('spawn', {'argv': ['true'], 'limits': {'x': 1}}, "limits: there is no 'x'; there"),
    ('spawn', {'argv': ['true'], 'limits': {'files': -1}}, 'files cannot be -1'),
    ('spawn', {'argv': ['true'], 'limits': {'memory': 2**80}}, 'memory cannot be'),
    ('spawn', {'shell': 'true', 'script': 'x'}, 'give either shell or script'),
    ('spawn', {'script': '!', 'script_encoding': 'base64'}, 'script: it is not valid'),
    ('spawn', {'script': '#!/bin/sh', 'argv': ['\0']}, 'argv: it must not contain NUL'),
    ('read', {'offset': -1}, 'offset: -1 is below 0'),
    ('read', {'count': 0}, 'count: 0 is not from 1 to'),
    ('read', {'count': 2**40}, 'is not from 1 to'),
    ('poll', {'offsets': {'stdin': 0}}, "there is no stream 'stdin'"),
    ('write', {'data': 'x', 'offset': 5}, 'offset: 5 is not between 0 and 0'),
    ('write', {'data': 'x', 'encoding': 'base64'}, 'data: it is not valid base64'),
    ('signal', {'signal': 'NOPE'}, "there is no signal 'NOPE'"),
    ('signal', {'signal': 0}, 'there is no signal 0'),
    ('signal', {'signal': '99999999999999999999'}, 'there is no signal'),
    ('signal', {'signal': '²'}, 'there is no signal'),
    ('resize', {'rows': 1, 'cols': 1}, 'has no terminal: Inappropriate ioctl'),
]


def test_what_makes_no_sense_is_the_callers_mistake(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], keep_stdin=True)['handle']
    for method, arguments, message in HOSTILE:
        given = arguments if method == 'spawn' else {'handle': handle, **arguments}
        with pytest.raises(errors.InvalidArgument) as caught:
            getattr(here, method)(**given)
        assert message in str(caught.value), arguments
        assert '\n' not in str(caught.value)
    assert len(here.list()) == 1
    # Any bytes beyond the end are the end.
    assert here.read(handle, offset=2**70)['next'] == 0
    here.write(handle, close=True)
    assert here.end(handle)['exit_code'] == 0


@pytest.mark.parametrize('handle', ['', 'p', '1', 0, 1, -1, True, 2**70])
def test_there_is_no_such_program(guest, handle):
    here = guest()
    here.spawn(argv=['sleep', str(LONG)])
    for method, more in (
        ('status', {}),
        ('read', {}),
        ('poll', {}),
        ('wait', {}),
        ('write', {}),
        ('signal', {'signal': 9}),
        ('resize', {'rows': 1, 'cols': 1}),
    ):
        with pytest.raises(errors.NoSuchRecord):
            getattr(here, method)(handle, **more)


def test_a_guest_without_descriptors_says_so(guest, monkeypatch):
    here = guest()
    here.run(argv=['true'])

    def refuse():
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(os, 'pipe', refuse)
    with pytest.raises(errors.GuestError, match='Too many open files'):
        here.spawn(argv=['true'])
    monkeypatch.undo()
    assert here.list() == []
    wait_for(lambda: not engine_threads())


def test_a_program_that_cannot_be_watched_does_not_stay(guest, monkeypatch):
    here = guest()
    here.spawn(argv=['sleep', str(LONG)])  # so that the engine is there
    engine = here.made._made._engine

    def refuse(*_arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(engine, 'watch', refuse)
    before = len(os.listdir('/proc/self/fd'))
    with pytest.raises(errors.GuestError, match='cannot be watched: No space left'):
        here.spawn(argv=['sleep', str(LONG)])
    assert len(os.listdir('/proc/self/fd')) <= before
    assert len(here.list()) == 1


def test_an_interrupted_command_is_told(guest, caplog):
    guest().made.interrupted('run', 'id-1')
    assert 'exec.run (command id-1) was cut short' in caplog.text


def test_signals_are_known_by_many_names():
    from guestagent_exec import programs

    for given in ('int', 'SIGINT', 'Int', '2', 2):
        assert programs.signal_number(given) == signal.SIGINT
