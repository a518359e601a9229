# SPDX-License-Identifier: Apache-2.0
"""What guestctl does over time: following, watching, waiting, and Ctrl-C."""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import processes, stack

pytestmark = pytest.mark.functional

SECONDS = 120


class Running:
    """A guestctl that runs on, whose outputs go into files."""

    def __init__(self, folder: pathlib.Path, url: str, *arguments: str) -> None:
        self._out, self._err = folder / 'ctl.out', folder / 'ctl.err'
        with self._out.open('wb') as out, self._err.open('wb') as err:
            self.process = subprocess.Popen(
                [stack.script('guestctl'), *arguments],
                env={**os.environ, stack.URL_VARIABLE: url},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it has printed, if that is an object on each line."""
        lines = self._out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith('\n')]

    @property
    def told(self) -> str:
        """What stands on its standard error."""
        return self._err.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SECONDS)


@pytest.fixture
def run(bus_url: str, tmp_path: pathlib.Path) -> Iterator[Callable[..., Running]]:
    """``run(*arguments)``: start a guestctl."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(tmp_path, bus_url, *arguments))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


def types(running: Running, instance: str) -> list[str]:
    """Return the types of an instance's events that were printed."""
    return [row['type'] for row in running.records if row['instance'] == instance]


@pytest.mark.slow
def test_events_are_followed_over_a_restart_of_the_conductor(
    agent: Any, conductor: Any, guestctl: Any, run: Callable[..., Running]
) -> None:
    first = conductor()
    following = run('event', 'list', '--follow', '-f', 'json')
    one = agent().instance
    processes.wait_for(
        lambda: types(following, one)[:1] == ['instance.up'], 'the event is printed'
    )

    first.kill()
    processes.wait_for(
        lambda: 'the conductor did not answer' in following.told, 'it is noticed'
    )
    two = agent().instance
    conductor()
    processes.wait_for(
        lambda: types(following, two)[:1] == ['instance.up'], 'the event is printed'
    )

    # A conductor that is busy may seem away once more; it is told in pairs.
    pair = r'guestctl: .*; still trying\nguestctl: the conductor answers again\n'
    assert re.match(pair, following.told)
    assert following.interrupt() == 130
    assert re.fullmatch(rf'({pair})+(guestctl: .*; still trying\n)?', following.told)


def test_facts_are_watched_until_their_instance_is_deleted(
    agent: Any, conductor: Any, guestctl: Any, run: Callable[..., Running]
) -> None:
    conductor()
    child = agent()
    name = child.instance
    processes.wait_for(
        lambda: 'monitoring.hostname' in guestctl('facts', name).stdout, 'facts'
    )
    watching = run('facts', name, 'monitoring.', '--watch', '-f', 'json')
    processes.wait_for(
        lambda: 'monitoring.hostname' in [row['key'] for row in watching.records],
        'facts are printed',
    )

    refused = guestctl('instance', 'delete', name)
    assert (refused.returncode, refused.stdout) == (5, '')
    assert refused.stderr.endswith('or force it with --force\n')
    child.stop()
    processes.wait_for(
        lambda: 'STOPPED' in guestctl('instance', 'show', name).stdout, 'it is stopped'
    )
    deleted = guestctl('instance', 'delete', name)

    assert (deleted.returncode, deleted.stderr) == (0, '')
    assert deleted.stdout == f'deleted {name}, which was STOPPED\n'
    assert watching.process.wait(SECONDS) == 3
    assert watching.told.count('\n') == 1
    assert guestctl('instance', 'show', name).returncode == 3
    left = guestctl('event', 'list', '--last', '1', '-f', 'value', '-c', 'type')
    assert left.stdout == 'instance.deleted\n'


def test_a_command_is_watched_and_cancelled(
    agent: Any, conductor: Any, guestctl: Any, run: Callable[..., Running]
) -> None:
    conductor()
    name = agent().instance
    guestctl('cast', name, 'exec.run', 'argv=["sleep", "600"]', '--id', 'sleeper')
    processes.wait_for(
        lambda: 'running' in guestctl('command', 'list', name, '--running').stdout,
        'it runs',
    )
    watching = run('command', 'watch', name, 'sleeper', '-f', 'value', '-c', 'outcome')

    done = guestctl('command', 'cancel', name, 'sleeper')

    assert (done.returncode, done.stdout) == (0, 'cancelled sleeper\n')
    assert watching.process.wait(SECONDS) == 1
    assert watching.told == ''
    again = guestctl('command', 'cancel', name, 'sleeper')
    assert again.returncode == 3
    listed = guestctl(
        'command', 'list', '--outcome', 'failed', '--command', 'exec.*', '-f', 'json'
    )
    assert [
        (record['instance'], record['command_id'])
        for record in json.loads(listed.stdout)
    ] == [(name, 'sleeper')]


def test_ctrl_c_ends_the_program_in_the_guest(
    agent: Any, guestctl: Any, run: Callable[..., Running], tmp_path: pathlib.Path
) -> None:
    name = agent().instance
    begun = tmp_path / 'begun'
    running = run('exec', name, '--shell', '--', f'echo $$ > {begun}; sleep 600')
    processes.wait_for(lambda: begun.exists() and begun.read_text(), 'it runs')
    pid = int(begun.read_text())

    assert running.interrupt() == 130

    processes.wait_for(
        lambda: not pathlib.Path(f'/proc/{pid}').exists(), 'the program has ended'
    )
    assert running.told == ''
    listed = guestctl('command', 'list', name, '--running', '-f', 'json')
    assert json.loads(listed.stdout) == []


def test_a_reader_that_has_gone_ends_it(conductor: Any, bus_url: str) -> None:
    conductor()
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'wb') as pipe:
        done = subprocess.run(
            [stack.script('guestctl'), 'events', '--follow'],
            env={**os.environ, stack.URL_VARIABLE: bus_url},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )

    assert (done.returncode, done.stderr) == (141, b'')


def test_a_person_sees_a_sign_of_life(agent: Any, bus_url: str) -> None:
    name = agent().instance
    master, slave = pty.openpty()
    with subprocess.Popen(
        [stack.script('guestctl'), 'call', name, 'exec.run', 'argv=["sleep", "3"]'],
        env={**os.environ, stack.URL_VARIABLE: bus_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = read_terminal(master)
        assert process.wait(SECONDS) == 0

    lines = shown.split('\r\x1b[K')
    sign = rf'guestctl: waiting for exec\.run of {name} \([1-9][0-9]* s\)'
    assert all(re.fullmatch(sign, line) for line in lines[1:-1])
    assert len(lines) > 2
    # The line is gone at the end.
    assert lines[-1] == ''


def read_terminal(master: int) -> str:
    """Return all that is written to a terminal until nobody has it open any more."""
    data = b''
    deadline = time.monotonic() + SECONDS
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while time.monotonic() < deadline:
            if select.select([master], [], [], 1)[0]:
                data += os.read(master, 4096)
    os.close(master)
    return data.decode()


def test_completion_asks_the_conductor(
    agent: Any, conductor: Any, guestctl: Any, bus_url: str
) -> None:
    conductor()
    name = agent(instance='web-1').instance
    processes.wait_for(
        lambda: name in guestctl('instance', 'list').stdout, 'it is known'
    )

    done = subprocess.run(
        [
            *('bash', '--norc', '-c'),
            'source <(guestctl complete); COMP_WORDS=(guestctl ping we); COMP_CWORD=2; '
            '_guestctl; echo "${COMPREPLY[@]}"',
        ],
        env={
            **os.environ,
            stack.URL_VARIABLE: bus_url,
            'PATH': f'{stack.script("guestctl").parent}:{os.environ["PATH"]}',
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    assert (done.stdout, done.stderr) == ('web-1\n', '')
