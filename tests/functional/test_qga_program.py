# SPDX-License-Identifier: Apache-2.0
"""``guestagent-qga`` as a program: its command line, its transports, its end."""

import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import processes
from tests.interop.qga import agents

pytestmark = pytest.mark.functional

PING = b'{"execute":"guest-ping"}\n'

with_qemu_ga = pytest.mark.skipif(
    not pathlib.Path(agents.QEMU_GA).exists(), reason='qemu-guest-agent is missing'
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root may mount')


def _run(program: str, *argv: str, config: str = '/nonexistent') -> Any:
    return subprocess.run(
        [program, *argv],
        env={**os.environ, 'QGA_CONF': config},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


CONFIG = """
# A comment.
[general]
daemon = 1
unknown = 5
block-rpcs = guest-exec
path=/from/the/file
[other]
path = /not/this
"""


@with_qemu_ga
@pytest.mark.parametrize(
    'line',
    [
        '-D',
        '-D -F',
        '-D -F/x',
        '-D --fsfreeze-hook=/y',
        '-D -v -d -r -p /p -l /l -f /pid -t /t',
        '-Ddvr -p/p',
        '--dump-conf --daemonize --retry-path --path=/p --method unix-listen',
        '-D -m isa-serial',
        '-D -m unix-listen',
        '--dump --meth=vsock-listen -b guest-ping',
        '-D ignored',
        '-x',
        '-p',
        '--nonesuch',
        '-D --verbose=x',
        '-m unix-listen',
    ],
)
def test_the_command_line_is_that_of_qemu_ga(tmp_path: pathlib.Path, line: str):
    config = tmp_path / 'qemu-ga.conf'
    config.write_text(CONFIG if 'ignored' in line else '')

    theirs = _run(agents.QEMU_GA, *line.split(), config=str(config))
    ours = _run(agents.OURS, *line.split(), config=str(config))

    assert theirs.returncode == ours.returncode
    # 7.2 has no allow-rpcs.
    said = ours.stdout.replace('allow-rpcs=\n', '')
    assert theirs.stdout == said.replace(agents.OURS, agents.QEMU_GA)
    assert bool(theirs.stderr) == bool(ours.stderr)


@with_qemu_ga
def test_help_lists_the_commands_of_qemu_ga():
    theirs, ours = (
        _run(program, '-b', 'help').stdout.split()
        for program in (agents.QEMU_GA, agents.OURS)
    )

    later = ['guest-get-load', 'guest-network-get-route']
    assert [name for name in ours if name not in later] == [
        name for name in theirs if name != 'guest-get-devices'
    ]


def test_what_is_refused_by_file_and_line_together(tmp_path: pathlib.Path):
    config = tmp_path / 'qemu-ga.conf'
    config.write_text('[general]\nblock-rpcs=guest-sync\nqga-version=9.1.0\n')
    with _program(tmp_path, '-c', str(config), '-b', 'guest-get-osinfo') as client:
        info = client.ask('guest-info')['return']

    off = {item['name'] for item in info['supported_commands'] if not item['enabled']}
    assert off == {'guest-sync', 'guest-get-osinfo'}
    assert info['version'] == '9.1.0'


@pytest.mark.parametrize(
    ('argv', 'said'),
    [
        (('-m', 'vsock-listen', '-p', 'foo'), "error parsing address 'foo'"),
        (('-p', '/nonexistent/x'), '/nonexistent/x: No such file or directory'),
        (('-m', 'none', '-p', 'x'), 'unsupported channel method/type: none'),
        (('-c', '/nonexistent/c'), '/nonexistent/c: No such file or directory'),
        (('--answer-limit', 'much'), "answer-limit: 'much' is not a number"),
        (('-t', '/nonexistent/state'), '/nonexistent/state'),
    ],
)
def test_what_cannot_be(tmp_path: pathlib.Path, argv: tuple[str, ...], said: str):
    ended = _run(agents.OURS, '-t', str(tmp_path), *argv)

    assert ended.returncode == 1
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_folder_of_hooks_that_others_could_fill(tmp_path: pathlib.Path):
    (tmp_path / 'qga.hooks').mkdir()
    (tmp_path / 'qga.hooks').chmod(0o777)

    ended = _run(agents.OURS, '-t', str(tmp_path), '-F/bin/true', '-p', '/dev/null')

    assert ended.returncode == 1
    assert 'qga.hooks: it is not only ours' in ended.stderr


@contextlib.contextmanager
def _program(folder: pathlib.Path, *options: str) -> Iterator[agents.Client]:
    with agents.running(agents.OURS, folder, *options) as (_, path):
        client = agents.Client(path)
        yield client
        client.close()


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """The socket of one that all tests may use."""
    folder = tmp_path_factory.mktemp('qga')
    with agents.running(agents.OURS, folder) as (_, path):
        yield path


def test_a_client_that_goes_without_reading(path: pathlib.Path):
    client = agents.Client(path)
    # More than the socket takes.
    client.send(b'{"execute":"guest-info"}\n' * 200)
    client.close()

    assert agents.Client(path).ask('guest-ping') == {'return': {}}


def test_a_client_that_closes_its_side_gets_its_answer(path: pathlib.Path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(b'{"execute":"guest-get-osinfo"}')
        client.shutdown(socket.SHUT_WR)
        answer = b''.join(iter(lambda: client.recv(65536), b''))

    assert json.loads(answer)['return']['machine'] == os.uname().machine


def test_several_clients_and_half_a_request(path: pathlib.Path):
    first, second = agents.Client(path), agents.Client(path)
    first.send(b'{"execute":"guest-sync","argu')

    assert second.ask('guest-ping') == {'return': {}}
    first.send(b'ments":{"id":7}}')
    assert first.line() == b'{"return": 7}'


def test_many_clients_leave_nothing_behind(tmp_path: pathlib.Path):
    with agents.running(agents.OURS, tmp_path) as (agent, path):

        def count(what: str) -> int:
            return len(os.listdir(f'/proc/{agent.pid}/{what}'))

        def come_and_go() -> None:
            for number in range(50):
                client = agents.Client(path)
                if number % 2:
                    client.ask('guest-get-host-name')
                else:
                    # It does not wait for all of them.
                    client.send(b'{"execute":"guest-get-osinfo"}' * 5)
                client.close()

        client = agents.Client(path)
        client.ask('guest-get-host-name')
        descriptors = count('fd')
        come_and_go()
        come_and_go()
        client.ask('guest-ping')
        # It may be at what the last have asked for.
        processes.wait_for(lambda: count('fd') <= descriptors + 2, 'all are closed')
        assert count('task') < 20
        client.close()


def test_a_long_answer(path: pathlib.Path, tmp_path: pathlib.Path):
    file = tmp_path / 'long'
    file.write_bytes(bytes(range(256)) * 40000)
    client = agents.Client(path)
    handle = client.ask('guest-file-open', path=str(file))['return']

    whole = client.ask('guest-file-read', handle=handle, count=20000000)['return']

    assert (whole['count'], whole['eof']) == (10240000, True)
    assert whole['buf-b64'].startswith('AAECAwQF')
    assert len(whole['buf-b64']) == (10240000 + 2) // 3 * 4


def test_a_socket_from_systemd(tmp_path: pathlib.Path):
    where = tmp_path / 'activated'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()
        script = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" -t "$1"'
        child = subprocess.Popen(
            ['sh', '-c', script, agents.OURS, str(tmp_path)], stdin=listener
        )
        try:
            assert agents.Client(where).ask('guest-ping') == {'return': {}}
        finally:
            child.terminate()
            assert child.wait(60) == 0
    assert where.exists()


def test_a_serial_line(tmp_path: pathlib.Path):
    host, guest = pty.openpty()
    device = os.ttyname(guest)
    argv = [agents.OURS, '-m', 'isa-serial', '-p', device, '-t', str(tmp_path)]
    child = processes.Process('serial', argv, tmp_path / 'log')
    try:
        child.wait_for(
            lambda: not termios.tcgetattr(guest)[3] & termios.ECHO, 'it is set up'
        )
        assert termios.tcgetattr(guest)[5] == termios.B38400
        os.write(host, PING)
        assert os.read(host, 100) == b'{"return": {}}\n'
        # Raw: a byte that would end a program on a terminal.
        os.write(host, b'{"execute":"\x03"}\n')
        assert b'stray' in os.read(host, 1000)
    finally:
        os.close(host)
        os.close(guest)
    # The line has gone, and nobody said that it comes back.
    assert child.wait_end() == 1
    assert 'error on channel' in child.output()


def test_a_daemon(tmp_path: pathlib.Path):
    where, pidfile, log = (tmp_path / name for name in ('socket', 'pid', 'log'))
    argv = ['-d', '-m', 'unix-listen', '-p', str(where), '-f', str(pidfile)]
    ended = _run(agents.OURS, *argv, '-t', str(tmp_path), '-v', '-l', str(log))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, '', '')
    processes.wait_for(pidfile.exists, 'it has noted its number')
    processes.wait_for(lambda: pidfile.read_text(), 'it has noted its number')
    pid = int(pidfile.read_text())
    try:
        assert agents.Client(where).ask('guest-ping') == {'return': {}}
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    processes.wait_for(lambda: not pidfile.exists(), 'it has gone')
    assert log.exists()


HOOK = '#!/bin/sh\necho "$1" >> {log}\n'


@as_root
def test_a_freeze(tmp_path: pathlib.Path):
    log, hook, mount = tmp_path / 'hooks', tmp_path / 'hook', tmp_path / 'mount'
    hook.write_text(HOOK.format(log=log))
    hook.chmod(0o755)
    folder = tmp_path / 'agent'
    with (
        _mounted(tmp_path / 'image', mount),
        agents.running(agents.OURS, folder, f'-F{hook}', *_only(mount)) as (
            agent,
            path,
        ),
    ):
        client = agents.Client(path)

        def freeze() -> Any:
            return client.ask('guest-fsfreeze-freeze-list', mountpoints=[str(mount)])

        assert freeze() == {'return': 1}
        try:
            assert client.ask('guest-fsfreeze-status') == {'return': 'frozen'}
            refused = client.ask('guest-get-time')['error']
            assert refused['desc'].endswith('the agent is in frozen state')
            assert (folder / 'qga.state.isfrozen').exists()
            # Now of all times it must not go.
            os.kill(agent.pid, signal.SIGTERM)
            assert client.ask('guest-ping') == {'return': {}}
        finally:
            assert client.ask('guest-fsfreeze-thaw') == {'return': 1}
        assert client.ask('guest-fsfreeze-status') == {'return': 'thawed'}
        assert 'return' in client.ask('guest-get-time')
        assert log.read_text() == 'freeze\nthaw\n'
        nothing = client.ask('guest-fsfreeze-freeze-list', mountpoints=['/nope'])
        assert nothing == {'return': 0}
        assert client.ask('guest-fsfreeze-status') == {'return': 'thawed'}
        client.close()


@as_root
def test_a_freeze_ends_by_itself(tmp_path: pathlib.Path):
    mount = tmp_path / 'mount'
    with (
        _mounted(tmp_path / 'image', mount),
        _program(tmp_path / 'agent', '--freeze-limit', '2', *_only(mount)) as client,
    ):
        frozen = client.ask('guest-fsfreeze-freeze-list', mountpoints=[str(mount)])
        assert frozen == {'return': 1}

        (mount / 'written').write_text('after the limit')

        processes.wait_for(
            lambda: 'return' in client.ask('guest-get-time'), 'it knows of the end'
        )


def _only(mount: pathlib.Path) -> tuple[str, str]:
    """Keep off what other tests have frozen."""
    return '--fsfreeze-only', str(mount)


@contextlib.contextmanager
def _mounted(image: pathlib.Path, mount: pathlib.Path) -> Iterator[None]:
    """Mount a new ext4 of a few megabytes."""
    with image.open('wb') as file:
        file.truncate(16 * 1024 * 1024)
    subprocess.run(['mkfs.ext4', '-q', str(image)], check=True)
    mount.mkdir()
    subprocess.run(['mount', '-o', 'loop', str(image), str(mount)], check=True)
    try:
        yield
    finally:
        thaw = [shutil.which('fsfreeze') or 'true', '-u', str(mount)]
        subprocess.run(thaw, stderr=subprocess.DEVNULL, check=False)
        for _ in range(50):
            if subprocess.run(['umount', str(mount)], check=False).returncode == 0:
                break
            time.sleep(0.1)
