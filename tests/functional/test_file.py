# SPDX-License-Identifier: Apache-2.0
"""``guestctl file`` with a real agent and its ``file`` in a process of its own."""

import os
import pathlib
import signal
import subprocess

import pytest

from devstack import processes, stack
from guestagent import errors

pytestmark = pytest.mark.functional

OPTIONS = {'file': {'isolate': True, 'isolate_idle': 1}}
MIB = 1024 * 1024


@pytest.fixture
def guest(agent):
    return agent(options=OPTIONS, extensions='file')


@pytest.fixture
def ctl(guest, guestctl):
    """``ctl(verb, *arguments, code=0)``: ``guestctl file``; return its output."""

    def run(verb, *arguments, code=0):
        done = guestctl('file', verb, guest.instance, *map(str, arguments))
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_files_and_folders(guest, ctl, tmp_path, stock_client):
    client = stock_client(guest.instance, namespace='file', version='1.0')
    (tmp_path / 'kept').write_text('open')
    handle = client.call({}, 'open', path=f'{tmp_path}/kept')['handle']

    source = tmp_path / 'source'
    (source / 'inner').mkdir(parents=True)
    strange = os.fsdecode(b'\xff "\n\x1b[31m')
    (source / 'inner' / strange).write_text('strange')
    (source / 'link').symlink_to('inner')
    (source / 'large').write_bytes(os.urandom(3 * MIB))

    assert ctl('push', source, tmp_path / 'there').startswith('2 files, 3145735 bytes')
    ctl('pull', tmp_path / 'there', tmp_path / 'back')
    done = subprocess.run(
        ['diff', '-r', '--no-dereference', source, tmp_path / 'back'],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b'')

    # What is the agent's own the process in which this runs does not know by itself.
    for own in (guest.config, guest.state / 'journal'):
        with pytest.raises(errors.Refused, match='out of reach'):
            client.call({}, 'get', path=str(own))
    # All this took longer than an idle process lives.
    read = client.call({}, 'read', handle=handle)
    assert read == {'data': 'b3Blbg==', 'count': 4, 'eof': True}


def parts(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.glob('.guestctl-*'))


def test_ctrl_c_and_once_more(guest, ctl, tmp_path, bus_url):
    (tmp_path / 'big').write_bytes(os.urandom(MIB) * 192)
    (tmp_path / 'here').mkdir()
    argv = ['file', 'pull', guest.instance, tmp_path / 'big', tmp_path / 'here']
    running = subprocess.Popen(
        [stack.script('guestctl'), *argv],
        env={**os.environ, stack.URL_VARIABLE: bus_url},
        stderr=subprocess.PIPE,
    )
    try:
        processes.wait_for(
            lambda: any(each.stat().st_size for each in parts(tmp_path / 'here')),
            'the first part has come',
            spacing=0.01,
        )
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert (running.returncode, told) == (130, b'')
    (part,) = parts(tmp_path / 'here')
    assert 0 < part.stat().st_size < 192 * MIB

    ctl('pull', tmp_path / 'big', tmp_path / 'here')
    done = subprocess.run(['cmp', tmp_path / 'big', tmp_path / 'here/big'], check=False)
    assert done.returncode == 0
    assert os.listdir(tmp_path / 'here') == ['big']
