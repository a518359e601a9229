# SPDX-License-Identifier: Apache-2.0
"""Proxmox VE's habits, written from what is known of them, to qemu-ga and to ours.

Each command has a connection of its own.  A delimited sync and the command go in one
write; the answer is what follows the last 0xFF, and must be exactly two lines that end
in a brace: the sync's and the command's.
"""

import base64
import itertools
import json
import os
import socket
import time

import pytest

from tests.interop.qga import agents

pytestmark = pytest.mark.functional

_numbers = itertools.count(4711)
PIECE = 1024 * 1024
READ_MAX = 16 * PIECE
WRITE_MAX = 60 * 1024


class Proxmox:
    """Says one command and goes."""

    def __init__(self, path):
        self._path = str(path)

    def __call__(self, command, **arguments):
        number = next(_numbers)
        sync = {'execute': 'guest-sync-delimited', 'arguments': {'id': number}}
        wanted = {'execute': command, 'arguments': arguments}
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(self._path)
            line.sendall(f'{json.dumps(sync)}\n{json.dumps(wanted)}\n'.encode())
            read = b''
            while True:
                said = read.rpartition(b'\xff')[2]
                lines = said.splitlines()
                if len(lines) == 2 and said.endswith(b'}\n'):
                    break
                assert len(lines) <= 2, said
                more = line.recv(PIECE)
                assert more, f'it was closed after {read!r}'
                read += more
        assert all(each.endswith(b'}') for each in lines)
        assert json.loads(lines[0]) == {'return': number}
        answer = json.loads(lines[1])
        if 'error' in answer:
            raise RuntimeError(answer['error']['desc'])
        return answer['return']


@pytest.fixture(scope='module', params=['theirs', 'ours'])
def ask(request, tmp_path_factory):
    program = agents.QEMU_GA if request.param == 'theirs' else agents.OURS
    if not os.path.exists(program):
        pytest.skip('qemu-guest-agent is missing')
    with agents.running(program, tmp_path_factory.mktemp(request.param)) as (_, path):
        yield Proxmox(path)


def test_what_its_pages_show(ask):
    assert ask('guest-ping') == {}
    known = {each['name'] for each in ask('guest-info')['supported_commands']}
    for name in (
        'get-osinfo',
        'get-host-name',
        'get-timezone',
        'get-users',
        'get-fsinfo',
        'get-vcpus',
        'network-get-interfaces',
        'fsfreeze-status',
        'get-time',
        'get-memory-block-info',
    ):
        assert f'guest-{name}' in known
        assert ask(f'guest-{name}') is not None
    with pytest.raises(RuntimeError, match='has not been found'):
        ask('guest-nothing')


def test_exec_and_a_poll_for_its_end(ask):
    pid = ask(
        'guest-exec',
        **{
            'path': '/bin/sh',
            'arg': ['-c', 'cat; echo oops >&2; exit 3'],
            'input-data': base64.b64encode(b'in').decode(),
            'capture-output': True,
        },
    )['pid']

    until = time.monotonic() + 60
    while not (status := ask('guest-exec-status', pid=pid))['exited']:
        assert time.monotonic() < until
        time.sleep(0.01)

    assert status['exitcode'] == 3
    assert base64.b64decode(status['out-data']) == b'in'
    assert base64.b64decode(status['err-data']) == b'oops\n'
    with pytest.raises(RuntimeError):
        ask('guest-exec-status', pid=pid)


def test_a_file_is_written_and_read_in_its_pieces(ask, tmp_path):
    path, data = str(tmp_path / 'file'), os.urandom(WRITE_MAX - 100)
    handle = ask('guest-file-open', path=path, mode='wb')
    # With a line break after every 76 characters, as its base64 has it.
    text = base64.encodebytes(data).decode()
    assert ask('guest-file-write', **{'handle': handle, 'buf-b64': text}) == {
        'count': len(data),
        'eof': False,
    }
    ask('guest-file-close', handle=handle)
    assert (tmp_path / 'file').read_bytes() == data

    (tmp_path / 'large').write_bytes(os.urandom(PIECE * 2 + 5))
    handle = ask('guest-file-open', path=str(tmp_path / 'large'))
    read, end = b'', False
    while not end and len(read) < READ_MAX:
        piece = ask('guest-file-read', handle=handle, count=PIECE)
        read += base64.b64decode(piece['buf-b64'])
        end = piece['eof']
    ask('guest-file-close', handle=handle)

    assert read == (tmp_path / 'large').read_bytes()


# qemu-ga ends then, which is why ours does not.
@pytest.mark.parametrize('ask', ['ours'], indirect=True)
def test_who_goes_with_half_an_answer_costs_nobody_else(ask, tmp_path):
    (tmp_path / 'large').write_bytes(os.urandom(PIECE * 4))
    handle = ask('guest-file-open', path=str(tmp_path / 'large'))
    request = {
        'execute': 'guest-file-read',
        'arguments': {'handle': handle, 'count': PIECE * 4},
    }
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(ask._path)
            line.sendall(json.dumps(request).encode())
            line.recv(10)

    assert ask('guest-ping') == {}
    ask('guest-file-close', handle=handle)
