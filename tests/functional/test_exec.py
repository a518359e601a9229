# SPDX-License-Identifier: Apache-2.0
"""Programs of a real guest, followed by guestctl and by a client.

The commands are sealed, and the extension runs in a process of its own, as the packages
have it; one test has neither, nor a broker.
"""

import base64
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time

import pytest

from devstack import processes, stack
from guestagent import client, errors
from guestagent.seal import keys
from tests.functional import hubs

pytestmark = pytest.mark.functional


class Bed:
    """A guest, and how it is asked.

    :ivar guests: a client.
    """

    def __init__(self, url, instance, key_file=''):
        self.instance = instance
        self.guests = client.Client(url=url, caller='nova', key_file=key_file)
        self._environment = {**os.environ, stack.URL_VARIABLE: url, 'TERM': 'vt100'}
        if key_file:
            self._environment['GUESTAGENT_KEY_FILE'] = key_file

    def ask(self, verb, **arguments):
        return self.guests.call(
            self.instance, f'exec.{verb}', arguments, version='1.1', timeout=60
        )

    def run(self, *arguments, stdin=b'', url=None):
        """Run guestctl to its end."""
        return subprocess.run(
            [stack.script('guestctl'), *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            timeout=60,
        )

    @contextlib.contextmanager
    def started(self, *arguments, **options):
        """Run guestctl meanwhile."""
        pipes = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.PIPE)
        child = subprocess.Popen(
            [stack.script('guestctl'), *arguments],
            env=self._environment,
            # pytest's workers ignore it, and so would the program.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            bufsize=0,
            **{**pipes, **options},
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    pipe.close()

    def programs(self):
        return [one for one in self.ask('list') if one['running']]

    def wait_gone(self):
        processes.wait_for(lambda: not self.programs(), 'no program runs')


@pytest.fixture(scope='module')
def bed(rabbit, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exec')
    [url] = rabbit.add_vhosts(['exec'])
    master = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
    for name, line in (('nova', master), ('vm-1', master.derive('vm-1'))):
        path = folder / f'{name}.keys'
        path.write_text(f'{line}\n')
        path.chmod(0o600)
    agent = stack.Agent(
        folder,
        url,
        'vm-1',
        {
            'DEFAULT': {'enabled_extensions': 'exec'},
            'seal': {'key_file': folder / 'vm-1.keys', 'allow_plain': False},
            'exec': {'isolate': True, 'isolate_idle': 1, 'isolate_cpu': 0},
        },
    )
    try:
        agent.wait_ready()
        made = Bed(url, 'vm-1', str(folder / 'nova.keys'))
        yield made
        made.guests.close()
    finally:
        agent.stop()


def read_until(pipe, expected, seconds=60):
    """Return what comes until this has."""
    data, until = b'', time.monotonic() + seconds
    while expected not in data:
        ready, _, _ = select.select([pipe], [], [], until - time.monotonic())
        assert ready, data
        chunk = os.read(pipe if isinstance(pipe, int) else pipe.fileno(), 65536)
        assert chunk, data
        data += chunk
    return data


def test_what_a_program_writes_is_shown_while_it_runs(bed):
    script = 'echo one; echo two >&2; read x; echo got $x; exit 5'
    with bed.started('exec', 'vm-1', '--stdin', '--shell', '--', script) as ctl:
        assert read_until(ctl.stdout, b'one\n') == b'one\n'
        assert read_until(ctl.stderr, b'two\n') == b'two\n'
        ctl.stdin.write(b'hello\n')
        assert read_until(ctl.stdout, b'got hello\n') == b'got hello\n'
        assert ctl.wait(60) == 5
    assert bed.ask('list') == []


def test_bytes_of_any_number_pass_through(bed):
    data = os.urandom(3_000_000)

    done = bed.run('exec', 'vm-1', '--stdin', '--', 'cat', stdin=data)

    assert (done.returncode, done.stderr) == (0, b'')
    assert done.stdout == data


def test_ctrl_c_interrupts_the_program_and_then_kills_it(bed):
    polite = 'trap "echo bye; exit 7" INT; echo ready; while :; do sleep 0.05; done'
    with bed.started('exec', 'vm-1', '--shell', '--', polite) as ctl:
        read_until(ctl.stdout, b'ready\n')
        ctl.send_signal(signal.SIGINT)
        assert read_until(ctl.stdout, b'bye\n') == b'bye\n'
        assert ctl.wait(60) == 7

    stubborn = 'trap "echo no" INT TERM; echo ready; while :; do sleep 0.05; done'
    with bed.started('exec', 'vm-1', '--shell', '--', stubborn) as ctl:
        read_until(ctl.stdout, b'ready\n')
        ctl.send_signal(signal.SIGINT)
        read_until(ctl.stdout, b'no\n')
        ctl.send_signal(signal.SIGINT)
        assert ctl.wait(60) == 130
    bed.wait_gone()


def test_a_terminal_here_is_the_programs(bed):
    ours, theirs = pty.openpty()
    command = (
        'stty size; tty; echo $TERM; trap "stty size" WINCH; '
        'until read x; do :; done; echo got $x; exec cat'
    )
    both = dict.fromkeys(('stdin', 'stdout', 'stderr'), theirs)
    termios.tcsetwinsize(ours, (33, 99))
    with bed.started('exec', 'vm-1', '--tty', '--shell', '--', command, **both) as ctl:
        said = read_until(ours, b'vt100\r\n')
        assert b'33 99\r\n/dev/pts/' in said
        termios.tcsetwinsize(ours, (44, 99))
        os.kill(ctl.pid, signal.SIGWINCH)
        read_until(ours, b'44 99\r\n')
        os.write(ours, b'hello\n')
        assert read_until(ours, b'got hello\r\n').count(b'hello') == 2
        os.write(ours, b'\x03')
        assert ctl.wait(60) == 130
    command = 'echo ready; exec cat'
    with bed.started('exec', 'vm-1', '--tty', '--shell', '--', command, **both) as ctl:
        read_until(ours, b'ready\r\n')
        os.write(ours, b'x\n')
        read_until(ours, b'x\r\nx\r\n')
        os.write(ours, b'\x1d')
        told = read_until(ours, b'\r\n').decode()
        assert 'the program goes on' in told
        assert ctl.wait(60) == 0
    handle = told.split()[-1]
    with bed.started('program', 'attach', 'vm-1', handle, '--stdin', **both) as ctl:
        read_until(ours, b'x\r\nx\r\n')
        os.write(ours, b'\x04')
        assert ctl.wait(60) == 0
    os.close(ours)
    os.close(theirs)


def test_a_script_is_sent_and_a_program_is_left_and_found_again(bed, tmp_path):
    script = tmp_path / 'script'
    script.write_text('#!/bin/sh\necho "$1"; echo hunter2 >/dev/null; read x; exit 4\n')

    done = bed.run(
        'exec', 'vm-1', '--script', str(script), '--detach', '--', 'from a file'
    )
    assert (done.returncode, done.stderr) == (0, b'')
    handle = done.stdout.decode().strip()
    # Its input is not kept open, so it ends.
    bed.ask('wait', handle=handle)
    rows = json.loads(bed.run('program', 'list', 'vm-1', '-f', 'json').stdout)
    assert {row['handle']: row['state'] for row in rows}[handle] == 'exit 4'
    done = bed.run('program', 'attach', 'vm-1', handle)
    assert (done.returncode, done.stdout) == (4, b'from a file\n')

    left = bed.run(
        'exec', 'vm-1', '--detach', '--shell', '--', 'echo said; exec sleep 600'
    )
    handle = left.stdout.decode().strip()
    # What nobody has read keeps a process of its own from ending when it is idle.
    processes.wait_for(
        lambda: bed.ask('status', handle=handle)['stdout_bytes'], 'what it says'
    )
    assert bed.run('program', 'signal', 'vm-1', handle, 'HUP').returncode == 0
    done = bed.run('program', 'attach', 'vm-1', handle)
    assert (done.returncode, done.stdout) == (128 + 1, b'said\n')


def test_time_is_over(bed):
    done = bed.run(
        'exec', 'vm-1', '--timeout', '3', '--shell', '--', 'echo x; sleep 600'
    )
    assert (done.returncode, done.stdout) == (124, b'x\n')
    assert done.stderr.startswith(b'guestctl: killed after 3 s')


def test_a_reader_of_ours_that_goes_ends_the_program(bed):
    with bed.started('exec', 'vm-1', '--', 'yes') as ctl:
        read_until(ctl.stdout, b'y\n')
        ctl.stdout.close()
        ctl.wait(60)
    bed.wait_gone()


def test_an_isolated_process_stays_while_a_program_has_something_to_say(bed):
    ended = bed.ask('spawn', argv=['sleep', '600'])
    bed.ask('signal', handle=ended['handle'], signal='KILL')
    bed.wait_gone()
    time.sleep(2.5)  # the process would be idle after one
    assert bed.ask('status', handle=ended['pid'])['signal_name'] == 'SIGKILL'

    started = bed.ask('spawn', shell='read x; echo late', keep_stdin=True)
    bed.ask('forget', handle=ended['handle'])
    time.sleep(2.5)
    assert bed.ask('status', handle=started['pid'])['running']
    bed.ask('write', handle=started['handle'], close=True)
    processes.wait_for(
        lambda: not bed.ask('wait', handle=started['handle'])['running'], 'its end'
    )
    part = bed.ask('read', handle=started['handle'])
    assert base64.b64decode(part['data']) == b'late\n'


def test_a_repeat_starts_nothing(bed, tmp_path):
    arguments = {'shell': f'echo x >>{tmp_path}/ran'}
    first, again = (
        bed.guests.call(
            'vm-1', 'exec.spawn', arguments, version='1.1', command_id='once'
        )
        for _ in range(2)
    )
    assert first == again
    bed.ask('wait', handle=first['handle'])
    assert (tmp_path / 'ran').read_text() == 'x\n'


def test_the_end_of_the_agent_is_the_end_of_all_programs(agent, guestctl, bus_url):
    made = agent(extensions='exec')
    with client.Client(url=bus_url, caller='nova', key_file='') as guests:
        pids = [
            guests.call(
                made.instance,
                'exec.spawn',
                {'shell': 'trap "" TERM; while :; do sleep 0.1; done'},
                version='1.1',
            )['pid']
            for _ in range(5)
        ]
        made.stop()
    processes.wait_for(
        lambda: not [pid for pid in pids if os.path.exists(f'/proc/{pid}')],
        'all have ended',
    )


def test_a_guest_that_lets_us_run_only_is_asked_to(agent, guestctl, tmp_path):
    policy = tmp_path / 'policy.conf'
    policy.write_text('[rule all]\ncallers = plain:*\ncommands = exec.run\n')
    policy.chmod(0o600)
    name = agent(extensions='exec', options={'policy': {'file': policy}}).instance

    done = guestctl('exec', name, '--shell', '--', 'echo out; exit 3')
    assert (done.returncode, done.stdout) == (3, 'out\n')
    done = guestctl('exec', name, '--detach', '--', 'true')
    assert done.returncode == 125
    assert 'exec.spawn' in done.stderr


def test_over_a_hub_in_plain(tmp_path, children):
    hub = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(hub)
    agent = stack.Agent(
        tmp_path, hub.url, 'vm-1', {'DEFAULT': {'enabled_extensions': 'exec'}}
    )
    children.append(agent)
    agent.wait_ready()
    bed = Bed(hub.url, 'vm-1')
    with bed.started('exec', 'vm-1', '--stdin', '--', 'sort') as ctl:
        ctl.stdin.write(b'b\na\n')
        ctl.stdin.close()
        ctl.stdin = None
        assert read_until(ctl.stdout, b'b\n') == b'a\nb\n'
        assert ctl.wait(60) == 0
    with pytest.raises(errors.NoSuchRecord):
        bed.ask('status', handle='nope')
    bed.guests.close()
