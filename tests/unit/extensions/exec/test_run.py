# SPDX-License-Identifier: Apache-2.0
"""Commands from start to end, with real processes."""

import base64
import concurrent.futures
import contextlib
import errno
import hashlib
import os
import pathlib
import signal
import threading
import time

import pytest
from guestagent_exec import extension as exec_extension
from guestagent_exec import run as runs
from guestagent_exec import session

from guestagent import errors, extension
from tests.unit.extensions.exec import bed


@pytest.fixture
def made(make):
    return make(exec_extension.Exec, 'exec', kill_grace=0.2)


@pytest.fixture
def run(made):
    return lambda **arguments: made.run(extension.Context(), **arguments)


def children():
    """Return the children of this process, zombies too."""
    found = set()
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(')')[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


@pytest.fixture(autouse=True)
def foreign():
    """The children that are not ours; after the test there must be no other."""
    before = children()
    yield before
    assert children() <= before


def descriptors():
    return len(os.listdir('/proc/self/fd'))


def resident(field='VmRSS'):
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def test_the_whole_result(run):
    result = run(shell='echo out; echo err >&2; exit 7')

    assert 0 < result.pop('seconds') < 30
    assert result == {
        'exit_code': 7,
        'signal': None,
        'signal_name': None,
        'timed_out': False,
        'detached': False,
        'stdout': 'out\n',
        'stdout_encoding': 'utf-8',
        'stdout_truncated': False,
        'stdout_bytes': 4,
        'stderr': 'err\n',
        'stderr_encoding': 'utf-8',
        'stderr_truncated': False,
        'stderr_bytes': 4,
    }


@pytest.mark.parametrize(
    ('number', 'name'),
    [
        (signal.SIGKILL, 'SIGKILL'),
        (signal.SIGSEGV, 'SIGSEGV'),
        (signal.SIGRTMIN + 3, 'SIGRTMIN+3'),
    ],
)
def test_a_signal_that_ended_it_is_named(run, number, name):
    result = run(shell=f'ulimit -c 0; kill -{int(number)} $$')

    assert result['exit_code'] is None
    assert result['signal'] == number
    assert result['signal_name'] == name
    assert not result['timed_out']


def test_bytes_that_are_no_text_travel_as_base64(run):
    result = run(shell=r'printf "\377\000"; printf "\303\251" >&2')

    assert base64.b64decode(result['stdout']) == b'\xff\0'
    assert result['stdout_encoding'] == 'base64'
    assert (result['stderr'], result['stderr_encoding']) == ('é', 'utf-8')


def test_output_beyond_the_limit_is_read_and_counted(run):
    result = run(
        shell='head -c 3000000 /dev/zero; head -c 50 /dev/zero >&2', output_limit=100
    )

    assert result['exit_code'] == 0
    assert result['stdout'] == '\0' * 100
    assert result['stdout_truncated']
    assert result['stdout_bytes'] == 3_000_000
    assert result['stderr'] == '\0' * 50
    assert not result['stderr_truncated']


def test_the_default_limit_never_passes_the_operators(make):
    made = make(exec_extension.Exec, 'exec', output_limit_max=5)

    result = made.run(extension.Context(), argv=['echo', 'twelve letters'])

    assert result['stdout'] == 'twelv'


def test_five_megabytes_through_cat_while_output_flows(make):
    made = make(exec_extension.Exec, 'exec', output_limit_max=8 * 2**20)
    data = os.urandom(5 * 2**20)

    result = made.run(
        extension.Context(),
        argv=['cat'],
        stdin=base64.b64encode(data).decode(),
        stdin_encoding='base64',
        output_limit=6 * 2**20,
        timeout=30,
    )

    assert result['exit_code'] == 0
    returned = base64.b64decode(result['stdout'])
    assert hashlib.sha256(returned).digest() == hashlib.sha256(data).digest()


def test_without_input_it_reads_nothing(run):
    assert run(argv=['cat'])['stdout'] == ''
    assert run(argv=['cat'], stdin='')['stdout'] == ''


@pytest.mark.parametrize('shell', ['true', 'exec 0<&-; sleep 0.1; echo done'])
def test_input_that_nobody_reads_does_not_matter(run, shell):
    result = run(shell=shell, stdin='x' * 2**20, timeout=30)

    assert result['exit_code'] == 0
    assert not result['timed_out']


def test_a_flood_is_cut_and_ended_with_flat_memory(run):
    run(argv=['true'])  # what only the first run imports is there now
    pathlib.Path('/proc/self/clear_refs').write_text('5')
    before = resident()

    result = run(argv=['yes'], timeout=1, output_limit=1000)

    assert result['timed_out']
    assert result['signal_name'] == 'SIGTERM'
    assert result['stdout'] == 'y\n' * 500
    assert result['stdout_truncated']
    assert result['stdout_bytes'] > 2**20
    assert resident('VmHWM') - before < 2 * 2**20


STUBBORN = (
    f'sleep {bed.LONG} & echo $!; sleep {bed.LONG}',
    # In a group of its own, as timeout makes one.
    f'timeout {bed.LONG} sleep {bed.LONG} & echo $!; wait',
    f'set -m; sleep {bed.LONG} & echo $!; wait',
    # Without a pipe that would tell of its end.
    f'sleep {bed.LONG} >/dev/null 2>&1 & echo $!; exec 1>&- 2>&-; sleep {bed.LONG}',
    # Those that do not listen: all, or only the grandchild.
    f'trap "" TERM; sleep {bed.LONG} & echo $!; sleep {bed.LONG}; sleep {bed.LONG}',
    f'sh -c "trap \\"\\" TERM; echo \\$\\$; sleep {bed.LONG}" & wait',
    f'sh -c "trap \\"\\" TERM; echo \\$\\$; exec 1>&- 2>&-; sleep {bed.LONG}" & wait',
)


def test_all_that_it_started_ends_when_its_time_is_over(run):
    with concurrent.futures.ThreadPoolExecutor(len(STUBBORN)) as pool:
        results = list(pool.map(lambda shell: run(shell=shell, timeout=2), STUBBORN))

    for shell, result in zip(STUBBORN, results, strict=True):
        assert result['timed_out'], shell
        assert result['seconds'] < 30, shell
        bed.wait_gone(int(result['stdout']))


def test_it_may_say_goodbye_when_told_to_end(run):
    result = run(
        shell=f'trap "echo bye; exit 3" TERM; echo hi; sleep {bed.LONG} & wait',
        timeout=1.5,
    )

    assert result['timed_out']
    assert result['exit_code'] == 3
    assert result['stdout'] == 'hi\nbye\n'


def test_a_process_left_behind_holds_the_call_up_only_briefly(run):
    result = run(shell=f'sleep {bed.LONG} & echo $!', timeout=bed.LONG)

    left = int(result['stdout'])
    try:
        assert result['exit_code'] == 0
        assert result['detached']
        assert bed.runs_still(left)
        assert result['seconds'] < 30
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_daemon_with_its_own_outputs_is_not_waited_for(run, monkeypatch):
    monkeypatch.setattr(runs, 'DRAIN_SECONDS', bed.LONG)

    result = run(shell=f'sleep {bed.LONG} >/dev/null 2>&1 & echo $!')

    left = int(result['stdout'])
    try:
        assert not result['detached']
        assert bed.runs_still(left)
        assert result['seconds'] < bed.LONG / 2
    finally:
        os.kill(left, signal.SIGKILL)


def test_who_left_the_session_is_left_alone(run):
    result = run(
        shell=f'setsid sh -c "echo \\$\\$; exec sleep {bed.LONG}" & sleep {bed.LONG}',
        timeout=1.5,
    )

    left = int(result['stdout'])
    try:
        assert result['timed_out']
        assert result['detached']
        assert bed.runs_still(left)
    finally:
        os.kill(left, signal.SIGKILL)


def check_cancelled(made, started, last):
    """Cancel a shell that has started a process and then does ``last``; both end.

    :param started: the shell writes the id of its process there.
    """
    context = extension.Context()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            made.run,
            context,
            timeout=bed.LONG,
            shell=(
                f'sleep {bed.LONG} & echo $! >{started}.new; '
                f'mv {started}.new {started}; {last}'
            ),
        )
        bed.wait_for(started.exists)
        context.cancel(errors.Cancelled('somebody changed his mind'))

        with pytest.raises(errors.Cancelled, match='changed his mind'):
            call.result(60)
    bed.wait_gone(int(started.read_text()))


def test_cancel_ends_all_of_it_and_is_raised(made, tmp_path):
    check_cancelled(made, tmp_path / 'started', 'wait')


def test_cancel_ends_what_was_left_behind_too(made, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, 'DRAIN_SECONDS', bed.LONG)

    check_cancelled(made, tmp_path / 'started', 'exit')


def test_what_is_cancelled_already_is_not_started(made, tmp_path):
    context = extension.Context()
    context.cancel(errors.Cancelled('too late'))

    with pytest.raises(errors.Cancelled):
        made.run(context, argv=['touch', str(tmp_path / 'made')])
    assert not (tmp_path / 'made').exists()


def test_cancel_after_the_end_does_nothing(made, tmp_path):
    context = extension.Context()
    made.run(context, argv=['true'])

    # Its wake-up's number is one of these files' by now.
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(tmp_path / str(n), 'wb')) for n in range(9)]
        context.cancel(errors.Cancelled('too late'))

    assert all(pathlib.Path(file.name).stat().st_size == 0 for file in files)


def test_the_deadline_of_the_caller_counts_as_well(made):
    context = extension.Context(deadline=time.monotonic() + 0.3)

    result = made.run(context, argv=['sleep', str(bed.LONG)])

    assert result['timed_out']


def test_stop_kills_without_the_usual_grace(make, foreign):
    made = make(exec_extension.Exec, 'exec', kill_grace=60)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            made.run,
            extension.Context(),
            timeout=bed.LONG,
            shell=f'trap "" TERM; sleep {bed.LONG}',
        )
        bed.wait_for(lambda: children() - foreign)
        made.stop()

        with pytest.raises(errors.Interrupted):
            call.result(60)
    with pytest.raises(errors.Interrupted):
        made.run(extension.Context(), argv=['sleep', str(bed.LONG)])


def test_many_at_once_leave_nothing_behind(run):
    run(argv=['true'])
    bed.wait_for(lambda: not bed.engine_threads())
    before = descriptors(), threading.active_count()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(
            pool.map(lambda n: run(shell=f'cat; exit {n}', stdin=str(n)), range(100))
        )

    assert [result['exit_code'] for result in results] == list(range(100))
    assert [result['stdout'] for result in results] == [str(n) for n in range(100)]
    bed.wait_for(lambda: not bed.engine_threads())
    bed.wait_for(lambda: descriptors() <= before[0])
    assert threading.active_count() <= before[1]


def test_a_kernel_that_tells_no_exits_is_asked(run, monkeypatch):
    def refuse(_process):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, 'pidfd_open', refuse)

    assert run(shell='exec 1>&- 2>&-; sleep 0.1; exit 4', timeout=30)['exit_code'] == 4
    assert run(argv=['sleep', str(bed.LONG)], timeout=0.2)['timed_out']


def test_what_cannot_be_killed_is_given_up(run, monkeypatch):
    monkeypatch.setattr(runs, 'KILL_SECONDS', 0.1)
    tried = []
    with monkeypatch.context() as patch:
        patch.setattr(session, 'kill', lambda *kill: tried.append(kill))
        before = descriptors()
        with pytest.raises(errors.GuestError, match='does not end even by SIGKILL'):
            run(argv=['sleep', str(bed.LONG)], timeout=0.1)
        bed.wait_for(lambda: descriptors() <= before)

    process = tried[0][0]
    assert [number for _, number in tried[:2]] == [signal.SIGTERM, signal.SIGKILL]
    os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)


def test_exit_codes_are_seen_below_a_parent_that_ignores_children(made, run):
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        made.start()
        assert run(shell='exit 3')['exit_code'] == 3
    finally:
        signal.signal(signal.SIGCHLD, old)
