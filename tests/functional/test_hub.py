# SPDX-License-Identifier: Apache-2.0
"""The hub, with peers that say what nobody should say."""

import contextlib
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

REPORTS = {'exchange': 'guestagent_reports', 'topic': 'guestagent_reports.info'}
GUEST = {'exchange': 'guestagent', 'topic': 'guestagent.vm-1'}
SERVICE = {'exchange': 'openstack', 'topic': 'service'}


@pytest.fixture
def hub(tmp_path, children):
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def program(hub):
    with hubs.Peer(hub.folder / 'programs.sock') as peer:
        yield peer


@pytest.fixture
def guest(hub):
    with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as peer:
        yield peer


def consume(peer, number=1, prefetch=10, **address):
    peer.send('consume', sub=number, prefetch=prefetch, **address)
    assert peer.receive().op == 'consuming'


def test_a_call_to_a_guest_and_its_reply(program, guest):
    consume(program, reply='reply_x', noack=True)
    program.send('publish', b'call', reply='reply_x', ttl=5, **GUEST)
    guest.send('take', prefetch=10)

    came = guest.receive()
    assert (came.op, came.body) == ('deliver', b'call')
    assert 0 < came.header['ttl'] <= 5
    guest.send('ack', tags=[came.header['tag']])
    guest.send('reply', b'answer', to='reply_x', id=1)

    reply = program.receive()
    assert (reply.header['sub'], reply.body) == (1, b'answer')


def test_what_is_acknowledged_is_confirmed_and_not_before(program, guest):
    guest.send('take', prefetch=10)
    program.send('publish', b'cast', id=1, held=True, done=True, **GUEST)
    assert program.receive().header == {'op': 'settled', 'id': 1, 'outcome': 'held'}
    came = guest.receive()
    assert program.silent()

    guest.send('ack', tags=[came.header['tag']])

    assert program.receive().header['outcome'] == 'acknowledged'


def test_a_request_waits_for_its_guest_and_comes_again_if_it_dies(hub, program):
    program.send('publish', b'cast', id=1, done=True, **GUEST)
    for redelivered in (None, True):
        with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as guest:
            guest.send('take', prefetch=1)
            came = guest.receive()
            assert (came.body, came.header.get('redelivered')) == (b'cast', redelivered)
    assert program.silent()


def test_a_report_is_confirmed_by_who_takes_it(program, guest):
    guest.send('report', hubs.report('vm-1'), id=1)
    assert guest.receive().header['outcome'] == 'returned'
    consume(program, kept=True, **REPORTS)

    guest.send('report', hubs.report('vm-1'), id=2)
    came = program.receive()
    assert came.body == hubs.report('vm-1')
    assert guest.silent()
    program.send('ack', sub=1, upto=came.header['tag'])
    assert guest.receive().header['outcome'] == 'acknowledged'


@pytest.mark.parametrize(
    'body', [hubs.report('vm-2'), b'garbage', b'{}', b'{"payload": []}', b'']
)
def test_a_guest_reports_as_itself_only(program, guest, body):
    consume(program, kept=True, **REPORTS)

    guest.send('report', body, id=1)

    assert guest.receive().header['outcome'] == 'rejected'
    assert program.silent()


def test_a_guest_replies_only_to_who_has_asked_it(hub, program, guest):
    consume(program, reply='reply_x', noack=True)

    guest.send('reply', b'forged', to='reply_x', id=1)

    assert guest.receive().header['outcome'] == 'returned'
    assert program.silent()
    hub.wait_line("guest vm-1 replies to 'reply_x', which never asked it")


def test_a_guest_cannot_do_what_programs_do(program, guest):
    consume(program, **SERVICE)
    guest.send('publish', b'x', **SERVICE)
    guest.send('consume', sub=1, prefetch=1, **SERVICE)
    assert guest.silent()
    assert program.silent()


def test_a_second_agent_is_refused_and_the_first_goes_on(hub, program, guest):
    with hubs.Peer(hub.guest_socket('vm-1'), '') as second:
        (bye,) = second.wait_closed()
    assert 'connected already' in bye.header['reason']
    assert guest.silent()


def test_consumers_of_a_topic_take_turns_and_each_gets_a_fanout(hub, program):
    with hubs.Peer(hub.folder / 'programs.sock') as other:
        for peer in (program, other):
            consume(peer, 1, **SERVICE)
            consume(peer, 2, fanout=True, **SERVICE)
        for number in range(4):
            program.send('publish', b'%d' % number, **SERVICE)
        program.send('publish', b'all', fanout=True, id=7, done=True, **SERVICE)

        came = [[peer.receive() for _ in range(3)] for peer in (program, other)]
        bodies = sorted([frame.body for frame in frames] for frames in came)
        assert bodies == [[b'0', b'2', b'all'], [b'1', b'3', b'all']]
        other.send('ack', sub=2, tags=[came[1][2].header['tag']])
        assert other.silent()
        assert program.silent()
        program.send('ack', sub=2, tags=[came[0][2].header['tag']])
        assert program.receive().header['id'] == 7


def test_nobody_listens(program):
    program.send('publish', b'x', id=1, **SERVICE)
    assert program.receive().header['outcome'] == 'returned'
    stranger = {**GUEST, 'topic': 'guestagent.vm-9'}
    program.send('publish', b'x', id=2, mandatory=True, **stranger)
    assert program.receive().header['outcome'] == 'returned'
    program.send('publish', b'x', id=3, create=True, held=True, **SERVICE)
    assert program.receive().header['outcome'] == 'held'


def test_a_guest_gets_its_socket_when_it_is_first_addressed(hub, program):
    program.send('publish', b'x', id=1, held=True, **{**GUEST, 'topic': 'guestagent.n'})
    assert program.receive().header['outcome'] == 'held'
    with hubs.Peer(hub.guest_socket('n'), 'guest') as guest:
        guest.send('take', prefetch=1)
        assert guest.receive().body == b'x'
    for bad in ('a/b', '../x', '', 'x' * 150, 'ż'):
        address = {**GUEST, 'topic': f'guestagent.{bad}'}
        program.send('publish', b'x', id=2, **address)
        assert program.receive().header['outcome'] == 'returned'
    assert sorted(path.name for path in (hub.folder / 'guests').iterdir()) == [
        'n.sock',
        'vm-1.sock',
    ]


def test_bounds_of_count_and_age(tmp_path, children):
    options = ('--guest', 'vm-1', '--max-waiting', '3', '--max-age', '1')
    hub = hubs.Hub(tmp_path, *options)
    children.append(hub)
    with hubs.Peer(hub.folder / 'programs.sock') as program:
        for number in range(4):
            program.send('publish', b'x', id=number, **GUEST)
        full = program.receive()
        assert (full.header['id'], full.header['outcome']) == (3, 'rejected')
        assert '3 messages wait for guest vm-1' in full.header['reason']
        late = [program.receive().header for _ in range(3)]
    assert [(h['id'], h['outcome']) for h in late] == [(n, 'expired') for n in range(3)]


def test_bounds_of_bytes(program):
    body = b'x' * (15 * 2**20)
    for number in range(3):
        program.send('publish', body, id=number, held=True, **GUEST)
    outcomes = [program.receive().header['outcome'] for _ in range(3)]
    assert outcomes == ['held', 'held', 'rejected']


def test_of_a_request_that_is_too_large_for_the_guest_comes_the_end(hub, program):
    with hubs.Peer(hub.guest_socket('vm-1'), '') as guest:
        guest.send('hello', v=1, role='guest', max=100_000)
        assert guest.receive().op == 'hello'
        guest.send('take', prefetch=1)
        program.send('publish', b'x' * 200_000 + b'end', **GUEST)
        came = guest.receive()
    assert (came.header['size'], len(came.body)) == (200_003, 65536)
    assert came.body.endswith(b'end')


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
