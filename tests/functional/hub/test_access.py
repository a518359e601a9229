# SPDX-License-Identifier: Apache-2.0
"""Who gets in, and how the hub starts and stops."""

import grp
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

from devstack import processes, stack
from guestagent.hub import sockets
from tests.functional import hubs

pytestmark = pytest.mark.functional


def run_as_nobody(groups, script, path):
    user = ['setpriv', '--reuid', '65534', '--regid', '65534', *groups]
    return subprocess.run(
        [*user, '/usr/bin/python3', '-c', script, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_wrong_credentials(children):
    connect = (
        'import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(30); '
        's.connect(sys.argv[1]); print(s.recv(100))'
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        hub = hubs.Hub(folder, '--guest', 'vm-1')
        children.append(hub)
        # As if the modes of the files were wrong.
        for path in (folder, hub.folder, hub.folder / 'guests'):
            path.chmod(0o755)
        for path in (hub.folder / 'programs.sock', hub.guest_socket('vm-1')):
            path.chmod(0o666)
            done = run_as_nobody(['--clear-groups'], connect, path)
            assert (done.stdout, done.stderr) == ("b''\n", '')
        hub.wait_line(r'program: process \d+ of user 65534 was refused')
        hub.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_a_group_gets_in_where_it_is_let_in(children):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        hub = hubs.Hub(folder, '--group', 'daemon', '--guest', 'vm-1')
        children.append(hub)
        connect = 'import socket, sys; socket.socket(1).connect(sys.argv[1])'
        number = str(grp.getgrnam('daemon').gr_gid)
        for path, allowed in (
            (hub.folder / 'programs.sock', True),
            (hub.guest_socket('vm-1'), False),
        ):
            done = run_as_nobody(['--groups', number], connect, path)
            assert (done.returncode == 0) == allowed, done.stderr
        hub.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_the_kernel_tells_all_groups_of_who_connects(tmp_path):
    path = tmp_path / 'socket'
    connect = (
        'import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); input()'
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(30)
        child = subprocess.Popen(
            ['setpriv', '--groups=4,5', sys.executable, '-c', connect, path],
            stdin=subprocess.PIPE,
        )
        with server.accept()[0] as accepted:
            pid, uid, groups = sockets.peer(accepted)
        child.communicate(b'\n', timeout=30)
    assert (pid, uid) == (child.pid, 0)
    assert {4, 5} <= groups


def test_only_its_user_gets_in(hub):
    for path in (hub.folder, hub.folder / 'guests'):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (hub.folder / 'programs.sock', hub.guest_socket('vm-1')):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_hub_that_was_killed_leaves_stale_sockets(hub, tmp_path, children):
    hub.kill()
    again = hubs.Hub(tmp_path)
    children.append(again)
    with hubs.Peer(again.guest_socket('vm-1'), 'guest') as guest:
        assert guest.silent()


def run_hub(*arguments):
    return subprocess.run(
        [stack.script('guestagent-hub'), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_two_hubs_in_one_folder(hub):
    done = run_hub('--listen', hub.folder)
    assert done.returncode == 2
    assert 'another hub is running there' in done.stderr
    assert hub.running


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can own it as another')
def test_a_folder_of_another_user(tmp_path):
    folder = tmp_path / 'hub'
    folder.mkdir()
    os.chown(folder, 65534, -1)
    done = run_hub('--listen', folder)
    assert done.returncode == 2
    assert 'the folder belongs to user 65534' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'code', 'text'),
    [
        ([], 2, 'required: --listen'),
        (['--listen', '/proc/nope'], 2, 'No such file or directory: /proc/nope'),
        (['--listen', '{0}', '--guest', 'a/b'], 2, "instance id 'a/b'"),
        (['--listen', '{0}', '--group', 'nope!'], 2, "group 'nope!': there is no such"),
        (['--listen', '{0}', '--max-age', '0'], 2, "'0': it must be 1 or more"),
        (['--listen', '{0}', '--guest', 'x' * 150], 1, 'cannot have a path of'),
        (['--listen', '{0}', '--log-file', '/nope/log'], 1, '/nope/log'),
    ],
)
def test_a_command_line_of_no_use(tmp_path, arguments, code, text):
    done = run_hub(*(argument.format(tmp_path / 'hub') for argument in arguments))
    assert done.returncode == code
    assert text in done.stderr
    assert done.stderr.splitlines()[-1].startswith('guestagent-hub: ')


def test_it_says_bye(hub, program, guest):
    os.kill(hub.pid, signal.SIGTERM)
    for peer in (program, guest):
        (bye,) = peer.wait_closed()
        assert bye.header == {'op': 'bye', 'reason': 'the hub stops'}
    assert hub.wait_end() == 0
    assert not (hub.folder / 'programs.sock').exists()
    processes.wait_for(lambda: 'stopped' in hub.output(), 'its last word')
