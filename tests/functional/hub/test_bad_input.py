# SPDX-License-Identifier: Apache-2.0
"""The hub, with peers that say what nobody should say."""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile

import pytest

from devstack import processes, stack
from tests.functional import hubs
from tests.functional.hubs import GUEST, SERVICE, consume

pytestmark = pytest.mark.functional


GARBAGE = {
    'random': os.urandom(300_000),
    'half a frame': b'\xff00000100',
    'a giant frame': b'\xffffffffff00000000' + b'x' * 300_000,
    'no header': b'\xff0000000200000000{}',
    'starts': b'\xff' * 100_000,
    'http': b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
}


@pytest.mark.parametrize('name', GARBAGE)
def test_garbage_harms_nobody(hub, program, guest, name):
    for path in (hub.folder / 'programs.sock', hub.guest_socket('vm-1')):
        with hubs.Peer(path, '') as bad, contextlib.suppress(ConnectionError):
            bad.sock.sendall(GARBAGE[name])
    # In the middle of a good connection the next good frame counts.
    program.sock.sendall(GARBAGE[name])
    guest.sock.sendall(GARBAGE[name])
    assert program.silent()
    assert guest.silent()


NONSENSE = [
    ('nope', {}),
    ('publish', {}),
    ('publish', {'exchange': 'a', 'topic': 'b', 'ttl': 'x'}),
    ('publish', {'exchange': 'a', 'topic': 'b', 'id': [1]}),
    ('consume', {'sub': 1}),
    ('consume', {'sub': 'x', 'prefetch': 1, **SERVICE}),
    ('consume', {'sub': 1, 'prefetch': 1, 'reply': 'guestagent.vm-1'}),
    ('ack', {'sub': 99, 'tags': [1]}),
    ('ack', {'tags': None}),
    ('cancel', {'sub': None}),
    ('prefetch', {'sub': 99, 'prefetch': 1}),
    ('requeue', {'sub': 99, 'tag': 1}),
    ('reply', {}),
    ('report', {'id': {}}),
    ('take', {'prefetch': 'many'}),
    ('hello', {}),
]


@pytest.mark.parametrize(('op', 'header'), NONSENSE)
def test_nonsense_harms_nobody(program, guest, op, header):
    for peer in (program, guest):
        peer.send(op, **header)
        assert peer.silent()


def test_who_says_nothing_or_the_wrong_thing_first(hub):
    with hubs.Peer(hub.folder / 'programs.sock', '') as peer:
        peer.send('publish', **SERVICE)
        assert 'must be a hello' in peer.wait_closed()[0].header['reason']
    with hubs.Peer(hub.folder / 'programs.sock', '') as peer:
        peer.send('hello', v=2)
        assert 'version 2' in peer.wait_closed()[0].header['reason']
    with hubs.Peer(hub.folder / 'programs.sock', '') as peer:
        assert 'no hello within 10 s' in peer.wait_closed()[0].header['reason']


def publish_for_ever(peer):
    """Each is answered, and no answer is read."""
    while True:
        peer.send('publish', id=1, **SERVICE)


def test_a_peer_that_sends_and_never_reads(hub, program, guest):
    guest.send('take', prefetch=10)
    with hubs.Peer(hub.folder / 'programs.sock') as deaf:
        deaf.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            publish_for_ever(deaf)
        before = hub.rss()
        for number in range(20):
            program.send('publish', b'%d' % number, **GUEST)
            came = guest.receive()
            assert came.body == b'%d' % number
            guest.send('ack', tags=[came.header['tag']])
        assert hub.rss() - before < 2**20
    assert hub.rss() < 60 * 2**20


def test_a_consumer_that_never_reads_keeps_its_messages_waiting(hub, program):
    with hubs.Peer(hub.folder / 'programs.sock') as deaf:
        consume(deaf, prefetch=1000, **SERVICE)
        for number in range(40):
            program.send('publish', b'x' * 2**20, id=number, held=True, **SERVICE)
        outcomes = [program.receive().header['outcome'] for _ in range(40)]
        assert {'held', 'rejected'} == set(outcomes)
        assert outcomes[:30] == ['held'] * 30
    assert program.silent()


def test_a_peer_that_connects_a_thousand_times(hub, program, guest):
    kept = []
    for path in (hub.folder / 'programs.sock', hub.guest_socket('vm-1')):
        for number in range(500):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            if number % 5:
                sock.close()
            else:
                kept.append(sock)
        assert program.silent()
        assert guest.silent()
    for sock in kept:
        sock.close()


UNSHARE = ('unshare', '--map-root-user', '--mount')
may_mount = pytest.mark.skipif(
    subprocess.run([*UNSHARE, 'true'], capture_output=True, check=False).returncode,
    reason='this user may make no mount namespace',
)


@pytest.fixture
def small_disk(tmp_path, children):
    """``small_disk(*options)``: a hub, and its folder as we see it, on a disk with room
    for three more files."""
    folder = tempfile.TemporaryDirectory()
    mount = folder.name

    def start(*options):
        script = (
            'mount -t tmpfs -o nr_inodes=8,size=64k none "$1" && shift && exec "$@"'
        )
        argv = [stack.script('guestagent-hub'), '--listen', f'{mount}/hub', *options]
        made = processes.Process(
            'hub', [*UNSHARE, 'sh', '-c', script, 'sh', mount, *argv], tmp_path / 'log'
        )
        children.append(made)
        return made, pathlib.Path(f'/proc/{made.pid}/root{mount}/hub')

    # A socket needs a short path.
    with folder:
        yield start


@may_mount
def test_a_disk_without_room_for_another_socket(small_disk):
    hub, folder = small_disk('--guest', 'vm-1')
    hub.wait_line('hub in ')
    with hubs.Peer(folder / 'programs.sock') as program:
        outcomes = []
        for number in range(8):
            address = {**GUEST, 'topic': f'guestagent.new-{number}'}
            program.send('publish', b'x', id=number, held=True, **address)
            outcomes.append(program.receive().header['outcome'])
        assert outcomes[-1] == 'returned'
        hub.wait_line('gets no socket: .*No space left on device')

        with hubs.Peer(folder / 'guests' / 'vm-1.sock', 'guest') as guest:
            guest.send('take', prefetch=1)
            program.send('publish', b'x', **GUEST)
            assert guest.receive().body == b'x'


@may_mount
def test_a_disk_without_room_for_the_first_socket(small_disk):
    hub, _ = small_disk(*(word for n in range(9) for word in ('--guest', f'vm-{n}')))
    assert hub.wait_end() == 1
    assert 'guestagent-hub: ' in hub.output()
    assert 'No space left on device' in hub.output().splitlines()[-1]


def test_a_log_on_a_full_disk(tmp_path, children):
    folder = tmp_path / 'hub'
    program = stack.script('guestagent-hub')
    options = ('--listen', folder, '--guest', 'vm-1', '--log-file', '/dev/full')
    hub = processes.Process('hub', [program, *options], tmp_path / 'output')
    children.append(hub)
    programs = folder / 'programs.sock'
    hub.wait_for(programs.exists, 'its socket is there')
    with hubs.Peer(programs) as program:
        assert program.silent()
    with hubs.Peer(folder / 'guests' / 'vm-1.sock', 'guest') as guest:
        assert guest.silent()
    assert hub.stop() == 0


def test_a_guest_that_comes_and_goes_a_thousand_times_is_logged_a_few(hub, program):
    for _ in range(1000):
        with hubs.Peer(hub.guest_socket('vm-1'), '') as guest:
            guest.send('hello', v=1, role='guest')
            guest.receive()
    assert program.silent()
    assert hub.output().count('guest vm-1') < 50
